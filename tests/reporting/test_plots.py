"""Figures through matplotlib: the same data as on the pages."""

import json
import sys

import pytest

from synthdiv.errors import UserError
from synthdiv.reporting.comparison_page import plot_comparison
from synthdiv.reporting.figures import Histogram, Intervals, Lines, Point, Scatter, Series
from synthdiv.reporting.plots import plot
from synthdiv.study.report import plot_study
from tests.study.test_report import made_up_study

MEAN = Series("mean", [1, 2, 3], [4, 5, 6], [3, 4, 5], [5, 6, 7])
FIGURES = [
    Scatter([Point(1, 2, "a"), Point(2, 3, group=1)], title="S", x_label="x", y_label="y"),
    Lines([MEAN], title="L", x_label="x", y_label="y"),
    Intervals([("one", 2.0, 1.0, 3.0), ("two", 4.0, None, None)], title="I", x_label="x", mark=0.0),
    Histogram([1, 1, 2, 9], title="H", x_label="x", low=0, high=5, width=1),
]


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plots)")


def test_every_kind_of_figure_is_drawn_from_its_data(matplotlib):
    scatter, lines, intervals, histogram = plot(FIGURES).axes
    assert [tuple(one.get_offsets()[0]) for one in scatter.collections] == [(1, 2), (2, 3)]
    assert scatter.texts[0].get_text() == "a"
    assert list(lines.lines[0].get_ydata()) == [4, 5, 6] and len(lines.collections) == 1
    assert [label.get_text() for label in intervals.get_yticklabels()] == ["one", "two"]
    assert intervals.collections[0].get_segments()[0][:, 0].tolist() == [1, 3]
    assert [bar.get_height() for bar in histogram.patches] == [0, 0.5, 0.25, 0, 0, 0.25]
    assert [axes.get_title() for axes in plot(FIGURES).axes] == ["S", "L", "I", "H"]


def test_a_study_has_a_panel_for_each_model_and_phase_with_its_line(matplotlib, tmp_path):
    study = made_up_study()
    whole = plot_study(study)
    titles = [axes.get_title() for axes in whole.axes]
    assert titles[:2] == ["tiny pre-trained", "tiny fine-tuned"]
    assert len(titles) == 2 * len(study["outcomes"]["tiny"]["sft"])
    chance, line = whole.axes[1].lines
    assert set(chance.get_ydata()) == {25}
    grid, fitted = line.get_xdata(), line.get_ydata()
    slope = (fitted[-1] - fitted[0]) / (grid[-1] - grid[0])
    assert slope == pytest.approx(100 * study["regression"]["tiny"]["sft"]["observed"]["slope"])
    whole.savefig(tmp_path / "study.pdf")
    assert (tmp_path / "study.pdf").stat().st_size > 1000


def test_a_comparison_shows_each_corpus(matplotlib, tmp_path):
    corpora = {
        "few": {"score": {"mean": 2.0, "ci95": [1.5, 2.5]}},
        "many": {"score": {"mean": 5.0}},
    }
    (tmp_path / "comparison.json").write_text(json.dumps({"corpora": corpora}))
    (axes,) = plot_comparison(tmp_path).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["few", "many"]


def test_what_cannot_be_drawn_is_told_in_a_line(monkeypatch):
    with pytest.raises(UserError, match="no figure"):
        plot([])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'synthdiv\[plots\]'"):
        plot(FIGURES)
