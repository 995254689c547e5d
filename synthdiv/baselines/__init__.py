"""Baseline metrics of diversity: streaming, on all cores, with direction and confounds stated."""

from synthdiv.baselines.catalogue import METRICS, Metric
from synthdiv.baselines.compute import (
    BaselineConfig,
    compare_baselines,
    compute_baselines,
)
from synthdiv.baselines.matched import matched_baselines

__all__ = [
    "METRICS",
    "BaselineConfig",
    "Metric",
    "compare_baselines",
    "compute_baselines",
    "matched_baselines",
]
