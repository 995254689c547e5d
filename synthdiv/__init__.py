"""synthdiv: is a synthetic corpus diverse, and does that make a model trained on it better."""

__version__ = "0.1.0"
