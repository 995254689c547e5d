"""Curating corpora: what is dropped from one and why, and which part of one to keep."""

from synthdiv.curation.config import CHECKS, FilterConfig
from synthdiv.curation.filtering import Against, FilterWork, filter_corpus, plan_filter
from synthdiv.curation.judging import Judge

__all__ = [
    "CHECKS",
    "Against",
    "FilterConfig",
    "FilterWork",
    "Judge",
    "filter_corpus",
    "plan_filter",
]
