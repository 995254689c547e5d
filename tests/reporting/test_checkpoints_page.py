"""The page of several checkpoints: what it shows, and that it opens at any width."""

import re

import pytest

from synthdiv.reporting.checkpoints_page import write_checkpoints_page

NAMES = ("small/sft", "a checkpoint with quite a long name/sft", "<b>large</b>")


def row(task, questions, values, differences):
    return {
        "task": task,
        "metric": "acc",
        "questions": questions,
        "values": values,
        "differences": [{"difference": d, "ci": ci} for d, ci in differences],
    }


ROWS = [
    row(
        "arc_easy", 2376, [0.25, 0.2812, 0.24], [(0.0312, [0.011, 0.0521]), (-0.01, [-0.03, 0.01])]
    ),
    row("sciq", 1000, [0.5, 0.49, 0.5], [(-0.01, [-0.02, 0.004]), (0.0, [0.0, 0.0])]),
]


@pytest.fixture
def path(tmp_path):
    write_checkpoints_page(tmp_path / "comparison.html", NAMES, ROWS, 0.9)
    return tmp_path / "comparison.html"


def test_figures_are_shown_in_per_cent_and_sure_differences_in_bold(path):
    page = path.read_text()
    assert "+3.12" in page and "+1.10 to +5.21" in page and "90%" in page and "28.12" in page
    assert re.findall(r"<td[^>]*><strong>(.*?)</strong>", page) == ["+3.12"]
    assert "<b>large" not in page and "&lt;b&gt;large" in page


def test_the_page_opens_and_is_accessible(path, window):
    for width, dark in ((400, True), (1280, False)):
        window.open(path, width, dark)
        assert window.run("document.documentElement.scrollWidth") <= width
        # A chart a checkpoint, a mark a task.
        assert window.run("document.querySelectorAll('svg.chart circle').length") == 4
        assert window.faults == [] and len(window.requests) == 1
        assert window.violations() == []
