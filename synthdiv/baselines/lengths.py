"""Limits that give several corpora the same distribution of lengths."""

from collections.abc import Sequence

import numpy as np


def match_lengths(lengths: Sequence[np.ndarray], quantiles: int | None = None) -> list[np.ndarray]:
    """Cuts the r-th longest document of every corpus to the shortest of the r-th longest ones.

    So all corpora end with the same lengths, and no document is left out for its length.

    Args:
        lengths: words of the documents of each corpus.
        quantiles: how many to compare the lengths by, where corpora have different numbers of
            documents; None where they have the same, which is exact.

    Returns:
        int64, the most words of each document, in the order of `lengths`.
    """
    if quantiles is None:
        least = np.min([np.sort(one) for one in lengths], axis=0)
    else:
        ranks = np.linspace(0.0, 1.0, quantiles)
        least = np.min([np.quantile(one, ranks) for one in lengths], axis=0)
    limits = []
    for one in lengths:
        sorted_limits = least
        if quantiles is not None:
            middle = (np.arange(len(one)) + 0.5) / len(one)
            sorted_limits = np.maximum(np.rint(np.interp(middle, ranks, least)), 1)
        limits.append(np.empty(len(one), np.int64))
        limits[-1][np.argsort(one, kind="stable")] = sorted_limits
    return limits
