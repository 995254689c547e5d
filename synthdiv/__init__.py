"""synthdiv: is a synthetic corpus diverse, and does that make a model trained on it better.

From a notebook:

    import synthdiv

    score = synthdiv.diversity_score(["a text", "another", ...], rounds=200)
    score.mean, score.ci95
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
