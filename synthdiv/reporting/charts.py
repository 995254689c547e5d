"""Draws figures as SVG text, for pages.

No script and no network. Colours come from CSS variables (`page.css`), so light and dark follow
the page; groups differ in shape as well as colour. Every chart has a title and a description for
screen readers. All text is escaped here.
"""

import dataclasses
import math
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from synthdiv.reporting.figures import (
    Figure,
    Histogram,
    Intervals,
    Lines,
    Point,
    Scatter,
    Series,
)
from synthdiv.reporting.labels import Labels

WIDTH, HEIGHT = 480, 300
_NARROW, _ROW = 380, 40  # width of a chart of intervals, height of one of its rows
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 14, 48
_LETTER = 8.6  # width of one in a chart on a narrow page, where they are set larger
SERIES = 6  # colours and shapes before they come round again


def svg(figure: Figure) -> str:
    """Returns a figure as SVG, with its legend below it where it has one."""
    match figure:
        case Scatter():
            return _scatter(figure)
        case Lines():
            return _lines(figure)
        case Intervals():
            return _intervals(figure)
        case Histogram():
            return _histogram(figure)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high] from inside."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 12) for i in range(count)]


def _tick_labels(values: Sequence[float]) -> list[str]:
    """All with as many decimals as the distance between ticks needs."""
    step = min((b - a for a, b in zip(values, values[1:], strict=False)), default=1.0)
    decimals = max(-math.floor(math.log10(step) + 1e-9), 0) if step > 0 else 3
    return [f"{value + 0.0:,.{min(decimals, 8)}f}" for value in values]


def number(value: float) -> str:
    """A number as a reader wants it: four significant digits, thousands apart."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-6:
        return f"{value:.2e}"
    digits = max(3 - math.floor(math.log10(abs(value)) + 1e-9), 0)
    return f"{value:.{min(digits, 8)}f}"


class _Plane:
    """Maps data to the page and draws the axes."""

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        x_label: str,
        y_label: str,
    ) -> None:
        self.x_low, self.x_high = _spread(*x_range)
        self.y_low, self.y_high = _spread(*y_range)
        self.x_label, self.y_label = x_label, y_label

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 2)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 2)

    def axes(self) -> str:
        parts = []
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        values = ticks(self.y_low, self.y_high)
        for value, label in zip(values, _tick_labels(values), strict=True):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{label}</text>')
        values = ticks(self.x_low, self.x_high)
        for value, label in zip(values, _tick_labels(values), strict=True):
            x = self.x(value)
            parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
            parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle = (_LEFT + right) / 2
        label = escape(self.x_label)
        parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>')
        height = (_TOP + bottom) / 2
        parts.append(
            f'<text transform="translate(13 {height}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_label)}</text>"
        )
        return "".join(parts)


def _spread(low: float, high: float) -> tuple[float, float]:
    """A range that is never empty."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    if high - low <= abs(high) * 1e-9:
        pad = abs(high) * 0.1 or 0.5
        return low - pad, high + pad
    return low, high


def _padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = _spread(min(finite), max(finite))
    pad = (high - low) * share
    return low - pad, high + pad


def _svg(
    title: str, description: str, body: str, height: float = HEIGHT, width: float = WIDTH
) -> str:
    kind = "chart narrow" if width < WIDTH else "chart"
    role = "group" if "<a " in body else "img"  # an image has nothing in it that leads anywhere
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="{role}" '
        f'aria-label="{escape(f"{title}. {description}", quote=True)}">{body}</svg>'
    )


def _legend(labels: Sequence[tuple[str, int]]) -> str:
    """Names of two groups or more, below the chart, as text that wraps on a narrow page."""
    if len(labels) < 2:
        return ""
    marks = "".join(
        f'<li><svg class="mark g{group % SERIES}" viewBox="-6 -6 12 12" aria-hidden="true">'
        f"{_shape(0, 0, 5, group)}</svg>{escape(label)}</li>"
        for label, group in labels
    )
    return f'<ul class="legend">{marks}</ul>'


def _shape(x: float, y: float, radius: float, group: int) -> str:
    r = round(radius, 2)
    kind = group % SERIES
    if kind == 0:
        return f'<circle class="mark" cx="{x}" cy="{y}" r="{r}"/>'
    outlines = [
        [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        [(0, -1.15), (1.05, 0.8), (-1.05, 0.8)],
        [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
        [(0, 1.15), (1.05, -0.8), (-1.05, -0.8)],
        [(-1, -0.35), (-0.35, -0.35), (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35)]
        + [(1, 0.35), (0.35, 0.35), (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35)],
    ]
    corners = " ".join(f"{x + a * r:.2f},{y + b * r:.2f}" for a, b in outlines[kind - 1])
    return f'<polygon class="mark" points="{corners}"/>'


def _path(xs: Sequence[float], ys: Sequence[float]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in zip(xs, ys, strict=True))


def _draw(plane: _Plane, series: Series) -> str:
    shown = [plane.x(v) for v in series.xs]
    parts = [f'<g class="g{series.group % SERIES}">']
    if len(series.low):
        up = [plane.y(_within(v, plane)) for v in series.high]
        down = [plane.y(_within(v, plane)) for v in series.low]
        outline = _path([*shown, *shown[::-1]], [*up, *down[::-1]])
        parts.append(f'<path class="band" d="{outline}Z"/>')
    dashed = " dashed" if series.dashed else ""
    line = _path(shown, [plane.y(_within(v, plane)) for v in series.ys])
    parts.append(f'<path class="line{dashed}" d="{line}"/></g>')
    return "".join(parts)


def _within(value: float, plane: _Plane) -> float:
    return min(max(value, plane.y_low), plane.y_high)


def _scatter(figure: Scatter) -> str:
    points, fit = figure.points, figure.fit
    xs = [v for p in points for v in (p.x, *(p.x_interval or ()))]
    ys = [v for p in points for v in (p.y, *(p.y_interval or ()))]
    if fit and not points:
        xs, ys = list(fit.xs), list(fit.ys)
    if figure.chance is not None:
        ys.append(figure.chance)
    plane = _Plane(_padded(xs, 0.1), _padded(ys, 0.1), figure.x_label, figure.y_label)
    parts = [plane.axes()]
    if fit:
        parts.append(_draw(plane, _cut(fit, plane)))
    labels = Labels(_LEFT, WIDTH)
    for point in points:
        labels.keep_free(plane.x(point.x), plane.y(point.y), _radius(point))
    for point in points:
        parts.append(_scatter_point(plane, point, labels))
    if figure.chance is not None:
        parts.append(_chance(plane, figure.chance, labels))
    names = [(name, number_) for number_, name in enumerate(figure.groups)]
    described = figure.description or f"{figure.y_label} against {figure.x_label}."
    return _svg(figure.title, described, "".join(parts)) + _legend(names)


def _chance(plane: _Plane, chance: float, labels: Labels) -> str:
    """The level of chance, named where there is the most room on its line."""
    y, right, half = plane.y(chance), WIDTH - _RIGHT, 35
    x = labels.on_line(y, range(right - half, _LEFT + half, -10), half)
    return (
        f'<line class="mean" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
        f'<text x="{x}" y="{y - 5}" text-anchor="middle">'
        f"chance {number(round(chance, 6))}</text>"
    )


def _cut(series: Series, plane: _Plane) -> Series:
    """Leaves out what is beyond the sides of the chart."""
    kept = [i for i, x in enumerate(series.xs) if plane.x_low <= x <= plane.x_high]

    def picked(values: Sequence[float]) -> list[float]:
        return [values[i] for i in kept] if len(values) else []

    return dataclasses.replace(
        series,
        xs=picked(series.xs),
        ys=picked(series.ys),
        low=picked(series.low),
        high=picked(series.high),
    )


def _radius(point: Point) -> float:
    return 5 * math.sqrt(max(point.size, 0.05))


def _scatter_point(plane: _Plane, point: Point, labels: Labels) -> str:
    x, y = plane.x(point.x), plane.y(point.y)
    parts = [f'<g class="g{point.group % SERIES}">']
    if point.x_interval:
        low, high = map(plane.x, point.x_interval)
        parts.append(
            f'<path class="error" d="M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"/>'
        )
    if point.y_interval:
        low, high = map(plane.y, point.y_interval)
        parts.append(
            f'<path class="error" d="M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"/>'
        )
    radius = _radius(point)
    tip = f"{point.label}: {plane.x_label} {number(point.x)}, {plane.y_label} {number(point.y)}"
    mark = f"<g><title>{escape(tip)}</title>{_shape(x, y, radius, point.group)}</g>"
    if point.label:
        left, base, anchor = labels.beside(x, y, radius, 0.85 * _LETTER * len(point.label))
        mark += (
            f'<text class="label" x="{left:.2f}" y="{base}" text-anchor="{anchor}">'
            f"{escape(point.label)}</text>"
        )
    if point.link:
        mark = f'<a href="{quote(point.link)}" aria-label="{escape(tip, quote=True)}">{mark}</a>'
    return "".join([*parts, mark]) + "</g>"


def _lines(figure: Lines) -> str:
    series = figure.series
    xs = [v for s in series for v in s.xs]
    ys = [v for s in series for v in (*s.ys, *s.low, *s.high)]
    y_range = figure.y_range or _padded(ys)
    plane = _Plane(_padded(xs, 0.0), y_range, figure.x_label, figure.y_label)
    body = plane.axes() + "".join(_draw(plane, s) for s in series)
    described = figure.description or f"{figure.y_label} against {figure.x_label}."
    return _svg(figure.title, described, body) + _legend([(s.label, s.group) for s in series])


def _intervals(figure: Intervals) -> str:
    """Each row's label stands above its interval, so that a narrow page leaves room for both."""
    rows, mark = figure.rows, figure.mark
    ends = [v for _, value, low, high in rows for v in (value, low, high) if v is not None]
    if mark is not None:
        ends.append(mark)
    low, high = figure.x_range or _padded(ends, 0.08)
    floor = _ROW * len(rows)
    height = floor + _BOTTOM

    def place(value: float) -> float:
        share = (value - low) / (high - low)
        return round(_RIGHT + share * (_NARROW - 2 * _RIGHT), 2)

    values = ticks(low, high)
    labels = list(zip(values, _tick_labels(values), strict=True))
    if figure.x_range and values[0] - low > (values[-1] - values[0]) * 0.06:
        labels.insert(0, (low, f"{low:.3g}"))  # a scale says where it begins
    parts = []
    for value, label in labels:
        x = place(value)
        for top in range(0, floor, _ROW):  # beside the intervals, not behind the labels
            parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top + 20}" y2="{top + 36}"/>')
        parts.append(f'<text x="{x}" y="{floor + 18}" text-anchor="middle">{label}</text>')
    if mark is not None:
        x = place(mark)
        parts.append(f'<line class="mean" x1="{x}" x2="{x}" y1="0" y2="{floor}"/>')
    parts.append(
        f'<text x="{_NARROW / 2}" y="{height - 8}" text-anchor="middle">'
        f"{escape(figure.x_label)}</text>"
    )

    def written(value: float) -> str:
        return number(value) if figure.decimals is None else f"{value:,.{figure.decimals}f}"

    for number_, (label, value, start, end) in enumerate(rows):
        top = _ROW * number_
        y = top + 28
        fits = int((_NARROW - 70) / _LETTER)
        shown = label if len(label) <= fits else label[: fits - 1] + "\u2026"
        tip = f"{label}: {written(value)}"
        parts.append(
            f'<text class="label" x="0" y="{top + 15}">{escape(shown)}</text>'
            f'<text class="label" x="{_NARROW}" y="{top + 15}" text-anchor="end">'
            f'{written(value)}</text><g class="g0">'
        )
        if start is not None and end is not None:
            left, right = place(start), place(end)
            parts.append(
                f'<path class="error" d="M{left} {y}H{right}M{left} {y - 4}v8M{right} {y - 4}v8"/>'
            )
            tip += f", {written(start)} to {written(end)}"
        parts.append(f"<g><title>{escape(tip)}</title>{_shape(place(value), y, 5, 0)}</g></g>")
    described = figure.description or f"{figure.x_label} of each."
    return _svg(figure.title, described, "".join(parts), height, _NARROW)


def _histogram(figure: Histogram) -> str:
    shares, width = figure.shares(), figure.width
    x_range = (figure.low - width / 2, figure.high + width / 2)
    y_range = (0.0, max(share for _, share in shares) * 1.08)
    plane = _Plane(x_range, y_range, figure.x_label, figure.y_label)
    parts = [plane.axes(), f'<g class="g{figure.group % SERIES}">']
    floor = plane.y(0)
    gap = 1 if len(shares) < 60 else 0
    for centre, share in shares:
        if not share:
            continue
        left = plane.x(centre - width / 2) + gap
        right = plane.x(centre + width / 2) - gap
        top = plane.y(share)
        tip = f"{number(round(centre, 6))}: {100 * share:.1f}%"
        parts.append(
            f'<rect class="bar" x="{left:.2f}" y="{top}" width="{right - left:.2f}" '
            f'height="{floor - top:.2f}"><title>{tip}</title></rect>'
        )
    parts.append("</g>")
    if figure.mark is not None:
        x = plane.x(figure.mark)
        side, shift = ("end", -5) if x > WIDTH * 0.75 else ("start", 5)
        parts.append(
            f'<line class="mean" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>'
            f'<text class="label" x="{x + shift}" y="{_TOP + 8}" text-anchor="{side}">'
            f"mean {number(figure.mark)}</text>"
        )
    described = figure.description or f"{figure.y_label} by {figure.x_label}."
    return _svg(figure.title, described, "".join(parts))
