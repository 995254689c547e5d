"""The page of several checkpoints: what it shows, and that it opens at any width."""

import re

import pytest

from synthdiv.reporting.checkpoints_page import write_checkpoints_page

NAMES = ("small/sft", "a checkpoint with quite a long name/sft", "<b>large</b>")


def row(task, questions, values, differences, measure="accuracy"):
    return {
        "task": task,
        "measure": measure,
        "metric": "acc",
        "questions": questions,
        "chance": 0.25 if measure == "accuracy" else None,
        "values": values,
        "differences": [{"difference": d, "ci": ci} for d, ci in differences],
    }


ROWS = [
    row(
        "arc_easy", 2376, [0.25, 0.2812, 0.24], [(0.0312, [0.011, 0.0521]), (-0.01, [-0.03, 0.01])]
    ),
    row("sciq", 1000, [0.5, 0.49, 0.5], [(-0.01, [-0.02, 0.004]), (0.0, [0.0, 0.0])]),
    row(
        *("sciq", 1000, [1.5, 1.25, 1.5], [(-0.25, [-0.3, -0.2]), (0.0, [0.0, 0.0])]),
        "answer_bits_per_byte",
    ),
]


@pytest.fixture
def path(tmp_path):
    write_checkpoints_page(tmp_path / "comparison.html", NAMES, ROWS, 0.9)
    return tmp_path / "comparison.html"


def test_figures_are_shown_in_per_cent_and_sure_differences_in_bold(path):
    page = path.read_text()
    assert "+3.12" in page and "+1.10 to +5.21" in page and "90%" in page and "28.12" in page
    assert re.findall(r"<td[^>]*><strong>(.*?)</strong>", page) == ["+3.12", "-0.2500"]
    assert len(re.findall('data-label="Chance">25.00</td><td[^>]*>2,376', page)) == 2
    assert "-0.3000 to -0.2000" in page and "lower is better" in page
    assert "<b>large" not in page and "&lt;b&gt;large" in page


def test_the_page_opens_and_is_accessible(path, window):
    for width, dark in ((400, True), (1280, False)):
        window.open(path, width, dark)
        assert window.run("document.documentElement.scrollWidth") <= width
        # A chart a checkpoint and measure, a mark a task.
        assert window.run("document.querySelectorAll('svg.chart circle').length") == 6
        assert window.faults == [] and len(window.requests) == 1
        assert window.violations() == []
