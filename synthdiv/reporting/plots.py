"""Draws figures through matplotlib, so that an author can restyle them for a paper.

from synthdiv.reporting.score_figures import plot_score

plot_score("runs/score").savefig("score.pdf")

matplotlib is the extra `plots`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synthdiv.errors import UserError
from synthdiv.reporting.figures import Figure, Histogram, Intervals, Lines, Scatter, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MARKERS = "osD^vP"  # of the groups, in order
_PANEL = (4.8, 3.0)  # inches
_AREA = 36  # square points of a mark of size 1


def plot(figures: Sequence[Figure], columns: int = 2) -> "MatplotlibFigure":
    """Returns figures side by side as one matplotlib figure.

    Args:
        figures: one or more, a panel each.
        columns: panels in a row.

    Raises:
        UserError: there is nothing to draw, or matplotlib is not installed.
    """
    if not figures:
        raise UserError("there is no figure to draw")
    try:
        from matplotlib.figure import Figure as MatplotlibFigure
    except ImportError as error:
        raise UserError(
            "figures need matplotlib, which is not installed: pip install 'synthdiv[plots]'"
        ) from error
    columns = min(columns, len(figures))
    rows = -(-len(figures) // columns)
    size = (_PANEL[0] * columns, _PANEL[1] * rows)
    whole = MatplotlibFigure(figsize=size, layout="constrained")
    for place, figure in enumerate(figures, 1):
        draw(figure, whole.add_subplot(rows, columns, place))
    return whole


def draw(figure: Figure, axes: "Axes") -> None:
    """Draws one figure on axes of the caller's."""
    axes.set_title(figure.title)
    axes.set_xlabel(figure.x_label)
    if not isinstance(figure, Intervals):
        axes.set_ylabel(figure.y_label)
    match figure:
        case Scatter():
            _scatter(figure, axes)
        case Lines():
            for series in figure.series:
                _line(series, axes)
            if figure.y_range:
                axes.set_ylim(*figure.y_range)
            if len(figure.series) > 1:
                axes.legend()
        case Intervals():
            _intervals(figure, axes)
        case Histogram():
            centres, shares = zip(*figure.shares(), strict=True)
            axes.bar(centres, shares, 0.95 * figure.width, color=f"C{figure.group}")
            if figure.mark is not None:
                axes.axvline(figure.mark, color="black", linestyle=":")


def _line(series: Series, axes: "Axes") -> None:
    colour = f"C{series.group}"
    style = "--" if series.dashed else "-"
    axes.plot(series.xs, series.ys, style, color=colour, label=series.label)
    if len(series.low):
        axes.fill_between(series.xs, series.low, series.high, color=colour, alpha=0.17, linewidth=0)


def _scatter(figure: Scatter, axes: "Axes") -> None:
    named = set()
    for point in figure.points:
        colour = f"C{point.group}"
        name = None
        if len(figure.groups) > 1 and point.group not in named:
            named.add(point.group)
            name = figure.groups[point.group]
        axes.scatter(
            [point.x],
            [point.y],
            _AREA * point.size,
            color=colour,
            marker=_MARKERS[point.group % len(_MARKERS)],
            label=name,
            zorder=3,
        )
        if point.x_interval:
            axes.hlines(point.y, *point.x_interval, color=colour)
        if point.y_interval:
            axes.vlines(point.x, *point.y_interval, color=colour)
        if point.label:
            axes.annotate(
                point.label, (point.x, point.y), xytext=(5, 5), textcoords="offset points"
            )
    if figure.chance is not None:
        axes.axhline(figure.chance, color="black", linestyle=":")
    if figure.fit:
        shown = axes.axis()
        _line(figure.fit, axes)
        axes.axis(shown)
    if named:
        axes.legend()


def _intervals(figure: Intervals, axes: "Axes") -> None:
    places = range(len(figure.rows))
    for place, (_, value, low, high) in zip(places, figure.rows, strict=True):
        if low is not None and high is not None:
            axes.hlines(place, low, high, color="C0")
        axes.plot([value], [place], "o", color="C0")
    axes.set_yticks(places, [label for label, *_ in figure.rows])
    axes.invert_yaxis()
    if figure.x_range:
        axes.set_xlim(*figure.x_range)
    if figure.mark is not None:
        axes.axvline(figure.mark, color="black", linestyle=":")
