"""Charts are well-formed SVG, put data where it belongs, and escape what text they are given."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from synthdiv.reporting import charts, pages
from synthdiv.reporting.figures import Histogram, Intervals, Lines, Point, Scatter, Series

EVIL = "<script>alert(1)</script> \"quoted\" & 'single'"


def drawn(kind, *data, **about):
    return charts.svg(kind(*data, **about))


def parsed(svg):
    """The chart as an element tree; a legend that follows it is parsed too."""
    return ElementTree.fromstring(f"<div>{svg}</div>")


def texts(svg):
    return [element.text for element in parsed(svg).iter("text")]


def test_scatter_puts_points_and_error_bars_where_they_belong():
    points = [
        Point(1, 10, "low", x_interval=(0.5, 1.5), y_interval=(9, 11)),
        Point(3, 30, "high", size=4),
    ]
    tree = parsed(drawn(Scatter, points, title="T", x_label="score", y_label="accuracy"))
    circles = [e for e in tree.iter("circle") if e.get("class") == "mark"]
    (x1, y1), (x2, y2) = ((float(c.get("cx")), float(c.get("cy"))) for c in circles)
    assert x1 < x2 and y1 > y2
    assert float(circles[1].get("r")) == pytest.approx(2 * float(circles[0].get("r")))
    errors = [e.get("d") for e in tree.iter("path") if e.get("class") == "error"]
    assert len(errors) == 2
    left, right = map(float, re.match(r"M([\d.]+) [\d.]+H([\d.]+)", errors[0]).groups())
    assert left < x1 < right and x1 - left == pytest.approx(right - x1, abs=0.02)


def test_a_fitted_line_is_drawn_with_its_band_and_goes_through_its_points():
    fit = Series("fit", [0, 1, 2, 3, 4], [0, 10, 20, 30, 40], [-1] * 5, [41] * 5)
    points = [Point(1, 10), Point(3, 30)]
    tree = parsed(drawn(Scatter, points, title="T", x_label="x", y_label="y", fit=fit))
    line = next(e.get("d") for e in tree.iter("path") if e.get("class") == "line")
    corners = [tuple(map(float, p.split())) for p in re.split("[ML]", line)[1:]]
    marks = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.iter("circle")]
    (xa, ya), (xb, yb) = corners[0], corners[-1]
    for x, y in marks:
        assert y == pytest.approx(ya + (yb - ya) * (x - xa) / (xb - xa), abs=0.1)
    assert any(e.get("class") == "band" for e in tree.iter("path"))


def test_groups_differ_in_shape_and_are_named():
    points = [Point(i, i, group=i) for i in range(charts.SERIES)]
    names = [f"group {i}" for i in range(charts.SERIES)]
    svg = drawn(Scatter, points, title="T", x_label="x", y_label="y", groups=names)
    tree = parsed(svg)
    assert [li.find("svg").tail for li in tree.iter("li")] == names
    chart = tree.find("svg")
    shapes = [e.get("points") for e in chart.iter("polygon")]
    assert len(shapes) == 5
    sizes = [np.ptp([[float(v) for v in p.split(",")] for p in s.split()], axis=0) for s in shapes]
    assert (
        len({(len(s.split()), *size.round(1)) for s, size in zip(shapes, sizes, strict=True)}) == 4
    )
    assert len(list(chart.iter("circle"))) == 1


def test_histogram_shares_add_up_and_its_mean_is_marked():
    values = [1, 1, 2, 4]
    svg = drawn(
        Histogram, values, title="T", x_label="C", low=0, high=5, width=1, mark=sum(values) / 4
    )
    tips = [e.find("title").text for e in parsed(svg).iter("rect")]
    assert tips == ["1: 50.0%", "2: 25.0%", "4: 25.0%"]
    assert "mean 2" in texts(svg)


def test_values_on_and_beyond_the_edges_of_a_histogram_are_counted():
    svg = drawn(Histogram, [-3, 0, 9.4, 12], title="T", x_label="S", low=0, high=10, width=0.5)
    tips = [e.find("title").text for e in parsed(svg).iter("rect")]
    assert tips == ["0: 50.0%", "9.500: 25.0%", "10: 25.0%"]


def test_intervals_are_placed_on_one_axis():
    rows = [
        ("first", 2.0, 1.0, 3.0),
        ("a name that is much too long for its place", 4.0, None, None),
    ]
    tree = parsed(drawn(Intervals, rows, title="T", x_label="score"))
    marks = [float(c.get("cx")) for c in tree.iter("circle")]
    (error,) = [e.get("d") for e in tree.iter("path") if e.get("class") == "error"]
    left, right = map(float, re.match(r"M([\d.]+) [\d.]+H([\d.]+)", error).groups())
    assert marks[0] - left == pytest.approx(right - marks[0], abs=0.05)
    assert marks[1] - marks[0] == pytest.approx(right - left, abs=0.05)
    tips = [e.text for e in tree.iter("title")]
    assert tips == ["first: 2, 1 to 3", "a name that is much too long for its place: 4"]
    assert any(
        t and t.endswith("\u2026") for t in texts(drawn(Intervals, rows, title="", x_label=""))
    )


def test_text_is_escaped_everywhere():
    svg = drawn(
        Scatter,
        [Point(1, 1, EVIL), Point(2, 2, EVIL)],
        title=EVIL,
        x_label=EVIL,
        y_label=EVIL,
        description=EVIL,
        groups=[EVIL, EVIL],
    )
    svg += drawn(Lines, [Series(EVIL, [0, 1], [0, 1])] * 2, title=EVIL, x_label=EVIL, y_label=EVIL)
    svg += drawn(Intervals, [(EVIL, 1, 0, 2)], title=EVIL, x_label=EVIL)
    svg += drawn(Histogram, [1], title=EVIL, x_label=EVIL, low=0, high=2, width=1)
    assert "<script" not in svg
    assert EVIL in texts(svg)
    label = parsed(svg).find("svg").get("aria-label")
    assert label.startswith(EVIL)


@pytest.mark.parametrize("value", [0.0, 5.0, -2.0, 1e9, 1e-9])
def test_charts_of_equal_or_lone_values_are_drawn(value):
    parsed(drawn(Scatter, [Point(value, value)], title="T", x_label="x", y_label="y"))
    parsed(drawn(Lines, [Series("a", [value], [value])], title="T", x_label="x", y_label="y"))
    parsed(drawn(Scatter, [], title="T", x_label="x", y_label="y"))
    assert "nan" not in drawn(Scatter, [Point(value, value)], title="", x_label="", y_label="")


@pytest.mark.parametrize(
    "low, high", [(0, 1), (-3.7, 12.2), (0.001, 0.0031), (7.36, 7.83), (0, 5e6)]
)
def test_ticks_are_round_inside_and_evenly_apart(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 8
    assert low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    leading = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert round(leading, 6) in (1, 2, 5)
    assert len(set(charts._tick_labels(found))) == len(found)


def test_numbers_read_as_people_write_them():
    written = [charts.number(v) for v in (0, 3, 1234567, 4.51899, 0.0398712, 12345.6, 1e-12)]
    assert written == ["0", "3", "1,234,567", "4.519", "0.03987", "12,346", "1.00e-12"]
    assert charts.number(math.nan) == "-"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_in_light_and_in_dark():
    style = pages.stylesheet()
    light, dark = (
        dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", block))
        for block in style.split("prefers-color-scheme: dark")
    )
    for colours in (light, dark):
        for ground in ("page", "card"):
            for text in ("ink", "soft", "link", "warn", "good"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
            for group in range(charts.SERIES):
                assert contrast(colours[f"g{group}"], colours[ground]) >= 3


def test_labels_of_close_points_do_not_hide_each_other():
    points = [Point(7.0 + 0.02 * i, 1.0 + 0.01 * i, f"T{128 * 2**i}") for i in range(3)]
    far = Point(2.0, 2.0, "T4")
    svg = charts.svg(Scatter([*points, far], title="t", x_label="x", y_label="y"))
    places = re.findall(r'<text class="label" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)"', svg)
    boxes = []
    for (x, y, anchor), point in zip(places, [*points, far], strict=True):
        width = 7 * len(point.label)
        left = float(x) - (width if anchor == "end" else 0)
        boxes.append((left, float(y) - 10, left + width, float(y)))
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
