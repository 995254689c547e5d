"""synthdiv: measure the diversity of a synthetic corpus, and what it does to a model trained on it."""

__version__ = "0.1.0"
