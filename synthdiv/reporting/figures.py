"""What a figure shows, whoever draws it: `charts` as SVG for pages, `plots` through matplotlib."""

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a scatter plot.

    Attributes:
        x, y: where it is.
        label: written beside it.
        x_interval, y_interval: (low, high), drawn as error bars.
        size: relative area, 1 is usual.
        group: number of its colour and shape.
        link: an address that the point leads to.
    """

    x: float
    y: float
    label: str = ""
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    size: float = 1.0
    group: int = 0
    link: str = ""


@dataclasses.dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        label: its name in the legend.
        xs, ys: its points.
        low, high: a band around it, or nothing.
        group: number of its colour.
        dashed: drawn in dashes.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    group: int = 0
    dashed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Figure:
    """What every figure has.

    Attributes:
        title, description: what a screen reader says.
        x_label: of the horizontal axis.
    """

    title: str
    x_label: str
    description: str = ""


@dataclasses.dataclass(frozen=True)
class Scatter(_Figure):
    """Points with labels and error bars.

    Attributes:
        points: what is drawn, in this order.
        y_label: of the upright axis.
        fit: a regression line with its band, or nothing.
        chance: what guessing gives, drawn as a level line, or None.
        groups: names of the groups 0, 1, ...; more than one makes a legend.
    """

    points: Sequence[Point]
    y_label: str = dataclasses.field(kw_only=True)
    fit: Series | None = dataclasses.field(default=None, kw_only=True)
    chance: float | None = dataclasses.field(default=None, kw_only=True)
    groups: Sequence[str] = dataclasses.field(default=(), kw_only=True)


@dataclasses.dataclass(frozen=True)
class Lines(_Figure):
    """Lines, each with its band; a legend where there is more than one.

    Attributes:
        series: the lines.
        y_label: of the upright axis.
        y_range: (low, high) of what is shown; by default, everything.
    """

    series: Sequence[Series]
    y_label: str = dataclasses.field(kw_only=True)
    y_range: tuple[float, float] | None = dataclasses.field(default=None, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Intervals(_Figure):
    """One row for each (label, value, low, high): a point with its interval; None has none.

    Attributes:
        rows: from top to bottom.
        mark: a value that intervals are held against, drawn as an upright line.
        x_range: (low, high) of the axis; by default, as wide as the rows.
        decimals: of the values in writing; by default, four significant digits.
    """

    rows: Sequence[tuple[str, float, float | None, float | None]]
    decimals: int | None = dataclasses.field(default=None, kw_only=True)
    mark: float | None = dataclasses.field(default=None, kw_only=True)
    x_range: tuple[float, float] | None = dataclasses.field(default=None, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Histogram(_Figure):
    """Shares of values in bins of `width` centred on low, low + width, ... up to high.

    Attributes:
        values: at least one; those beyond the ends are counted in the outermost bins.
        low, high, width: of the bins.
        y_label: of the upright axis.
        mark: a mean, drawn as an upright line.
        group: number of its colour.
    """

    values: Sequence[float]
    low: float = dataclasses.field(kw_only=True)
    high: float = dataclasses.field(kw_only=True)
    width: float = dataclasses.field(kw_only=True)
    y_label: str = dataclasses.field(default="share of rounds", kw_only=True)
    mark: float | None = dataclasses.field(default=None, kw_only=True)
    group: int = dataclasses.field(default=0, kw_only=True)

    def shares(self) -> list[tuple[float, float]]:
        """Returns (centre, share of the values) of every bin."""
        count = max(round((self.high - self.low) / self.width), 0) + 1
        shares = [0.0] * count
        for value in self.values:
            place = math.floor((value - self.low) / self.width + 0.5)
            shares[min(max(place, 0), count - 1)] += 1 / len(self.values)
        return [(self.low + place * self.width, share) for place, share in enumerate(shares)]


Figure = Scatter | Lines | Intervals | Histogram
