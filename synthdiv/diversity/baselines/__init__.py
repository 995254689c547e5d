"""Baseline metrics of diversity: streaming, on all cores, with direction and confounds stated."""

from synthdiv.diversity.baselines.catalogue import METRICS, Metric
from synthdiv.diversity.baselines.compute import (
    BaselineConfig,
    compare_baselines,
    compute_baselines,
)
from synthdiv.diversity.baselines.matched import matched_baselines

__all__ = [
    "METRICS",
    "BaselineConfig",
    "Metric",
    "compare_baselines",
    "compute_baselines",
    "matched_baselines",
]
