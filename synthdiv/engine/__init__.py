"""Where work is done: in threads and processes of this machine, or on a Ray cluster.

    with crew(count_words, Engine("ray")) as workers:
        for counts in workers.map(texts):
            ...

Callers do not know which: results come in the order of what they are made of, and are the same.
"""

from synthdiv.engine.crew import LOCAL, NAMES, Crew, Engine, crew

__all__ = ["LOCAL", "NAMES", "Crew", "Engine", "crew"]
