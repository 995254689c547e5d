"""Correlations over a handful of corpora, with intervals that hold for so few."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_Z = 1.959963984540054  # 97.5% of the standard normal
_RANKED = 10  # corpora from which the interval of a rank correlation covers what it says
_ONE = 1 - 1e-12  # Fisher's z of a perfect correlation would be infinite

Values = Sequence[float] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A correlation, its 95% interval and the p-value of none; None where it is not defined."""

    value: float | None = None
    ci95: list[float] | None = None
    p: float | None = None


def pearson(x: Values, y: Values) -> Correlation:
    """Pearson's correlation; the interval is Fisher's z, from four observations on."""
    return _correlated(_r(x, y), len(x))


def spearman(x: Values, y: Values) -> Correlation:
    """Spearman's correlation; the interval is that of Bonett and Wright, from ten on."""
    from scipy import stats

    rho = _r(stats.rankdata(x), stats.rankdata(y))
    if rho is None or len(x) < _RANKED:
        return Correlation(rho)
    z, half = _fisher(rho), _Z * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    p = float(stats.spearmanr(x, y).pvalue)
    return Correlation(rho, [math.tanh(z - half), math.tanh(z + half)], p)


def _correlated(r: float | None, n: int, given: int = 0) -> Correlation:
    """Adds interval and p-value to a correlation of n observations given so many others."""
    if r is None:
        return Correlation()
    from scipy import stats

    freedom = n - 2 - given
    if freedom < 1:
        return Correlation(r)
    p = float(2 * stats.t.sf(abs(r) * math.sqrt(freedom / max(1 - r**2, 1e-300)), freedom))
    if freedom < 2:
        return Correlation(r, None, p)
    z, half = _fisher(r), _Z / math.sqrt(freedom - 1)
    return Correlation(r, [math.tanh(z - half), math.tanh(z + half)], p)


def partial(x: Values, y: Values, given: Sequence[Values]) -> dict[str, Any]:
    """Pearson's correlation of x and y given other variables, and the slope beside them.

    Args:
        x, y: shape [n].
        given: the others, each of shape [n]; those that follow from the ones before are left out.

    Returns:
        `pearson`, `pearson_ci95`, `p`, `slope` of x in the regression of y on x and the others, its
        `ci95`, and `given`, how many others there were. None where n does not suffice or the
        others wholly explain x or y.
    """
    n = len(x)
    basis = np.ones((n, 1))
    for one in given:
        wider = np.column_stack([basis, _standard(one)])
        if np.linalg.matrix_rank(wider) > np.linalg.matrix_rank(basis):
            basis = wider
    count = basis.shape[1] - 1
    empty: dict[str, Any] = dict.fromkeys(("pearson", "pearson_ci95", "p", "slope", "ci95"))
    if n - 2 - count < 1:
        return empty | {"given": count}
    orthogonal = np.linalg.qr(basis)[0]
    left, right = (
        values - orthogonal @ (orthogonal.T @ values) for values in (np.array(x), np.array(y))
    )
    for rest, whole in ((left, x), (right, y)):  # what rounding leaves is nothing
        if np.square(rest).sum() <= max(
            1e-12 * np.square(_centred(whole)).sum(), (1e-12 * np.abs(whole).max()) ** 2
        ):
            return empty | {"given": count}
    from scipy import stats

    found = _correlated(_r(left, right), n, count)
    spread = float(np.square(left).sum())
    slope = float(left @ right) / spread
    residual = right - slope * left
    error = math.sqrt(float(np.square(residual).sum()) / (n - 2 - count) / spread)
    half = float(stats.t.ppf(0.975, n - 2 - count)) * error
    return {
        "pearson": found.value,
        "pearson_ci95": found.ci95,
        "p": found.p,
        "slope": slope,
        "ci95": [slope - half, slope + half],
        "given": count,
    }


def difference(y: Values, first: Values, second: Values) -> dict[str, Any]:
    """How much better `first` correlates with y than `second` does, over the same observations.

    The interval is Zou's (2007) for dependent correlations. A paired bootstrap over corpora covers
    83 to 92% with eight of them; this one about 95%.

    Returns:
        `difference` of the Pearson correlations and its `ci95`; None where one is not defined, and
        no interval below five observations.
    """
    r1, r2, between = _r(y, first), _r(y, second), _r(first, second)
    if r1 is None or r2 is None or between is None:
        return {"difference": None, "ci95": None}
    value, n = r1 - r2, len(y)
    if n < 5:
        return {"difference": value, "ci95": None}
    ends = [_correlated(r, n).ci95 or [-1.0, 1.0] for r in (r1, r2)]
    (low1, high1), (low2, high2) = ends
    square1, square2 = max(1 - r1**2, 1e-12), max(1 - r2**2, 1e-12)
    shared = (between - r1 * r2 / 2) * (1 - r1**2 - r2**2 - between**2) + between**3
    c = min(max(shared / (square1 * square2), -1.0), 1.0)

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(down**2 + up**2 - 2 * c * down * up, 0.0))

    return {
        "difference": value,
        "ci95": [value - reach(r1 - low1, high2 - r2), value + reach(high1 - r1, r2 - low2)],
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Corrects p-values of several tests by Holm's method; None is no test and stays None."""
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tests):
        highest = max(highest, min((len(tests) - rank) * p, 1.0))
        corrected[place] = highest
    return corrected


def _r(x: Values, y: Values) -> float | None:
    """Pearson's correlation, or None below three observations and where one side is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    left, right = _centred(x), _centred(y)
    size = float(np.linalg.norm(left) * np.linalg.norm(right))
    return min(max(float(left @ right) / size, -1.0), 1.0) if size > 0 else None


def _centred(x: Values) -> np.ndarray:
    values = np.asarray(x, float)
    return values - values.mean()


def _standard(x: Values) -> np.ndarray:
    values = _centred(x)
    return values / (np.linalg.norm(values) or 1.0)


def _fisher(r: float) -> float:
    return math.atanh(min(max(r, -_ONE), _ONE))
