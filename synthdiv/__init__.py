"""synthdiv: is a synthetic corpus diverse, and does that make a model trained on it better.

import synthdiv

score = synthdiv.diversity_score(["a text", "another", ...], rounds=200)
score.mean, score.ci95
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthdiv.corpora import Corpus
    from synthdiv.face import baseline_metrics, compare_corpora, diversity_score

__version__ = "0.1.0"

__all__ = ["Corpus", "baseline_metrics", "compare_corpora", "diversity_score"]

# Loaded when they are first asked for, so that `import synthdiv` costs nothing.
_PLACES = {"Corpus": "synthdiv.corpora"} | dict.fromkeys(
    ("baseline_metrics", "compare_corpora", "diversity_score"), "synthdiv.face"
)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
