"""Asking language models: one protocol, several backends, one session.

    from synthdiv.llm import LLMConfig, Request, open_session

    with open_session(LLMConfig(backend="openai", model="..."), Path("answers.sqlite")) as session:
        replies = session.ask_all([Request(({"role": "user", "content": "..."},), MySchema)])

Every answer is on disk before it is used and is never paid for twice; a cap on cost or calls is
never exceeded; a killed run goes on where it was. Importing this loads no HTTP library.
"""

from synthdiv.llm.fences import Fenced, fence, fenced, unfence
from synthdiv.llm.plan import Plan, Stage
from synthdiv.llm.protocol import Reply, Request, Sampling, Usage
from synthdiv.llm.session import LLMConfig, PausedAsking, Session, open_session

__all__ = [
    "Fenced",
    "LLMConfig",
    "PausedAsking",
    "Plan",
    "Reply",
    "Request",
    "Sampling",
    "Session",
    "Stage",
    "Usage",
    "fence",
    "fenced",
    "open_session",
    "unfence",
]
