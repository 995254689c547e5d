"""The study's page shows the figures of study.json, escapes names, and stands alone."""

import re

import pytest

from synthdiv import files
from synthdiv.study.analysis import analyse
from synthdiv.study.outcomes import figures, outcome_of
from synthdiv.study.regression import regress
from synthdiv.study.report import results_table, write_report


def made_up_study(names=("few", "some", "many", "more"), slope=0.05):
    """A study of corpora whose accuracy rises with their score by `slope` and a little noise."""
    noise = [0.01, -0.012, 0.004, -0.003, 0.009]
    cells = []
    for i, name in enumerate(names):
        score = 1.5 + i
        outcome = {
            "accuracy": 0.25 + slope * i + noise[i],
            "stderr": 0.0191,
            "bits_per_byte": 2.5 - 0.01 * i,
            "tasks": {},
            "chance": 0.25,
            "measures": {
                "probability": {"value": 0.26 + 0.01 * i, "stderr": 0.004, "chance": 0.25},
                "answer_bits_per_byte": {"value": 1.7 - noise[i], "stderr": 0.1, "chance": None},
            },
            "texts": {
                "docs": {"bits_per_byte": 2.5 - 0.01 * i, "standard_error": 0.02},
                "tales & more": {"bits_per_byte": 3.5 - 0.01 * i, "standard_error": 0.03},
            },
        }
        cells.append(
            {
                "corpus": {
                    "name": name,
                    "topics": 8 * 2**i,
                    "generations": 64 // 2**i,
                    "family": "topic",
                    "documents": 512,
                    "tokens": 123_456 + i * i,
                },
                "score": {
                    "mean": score,
                    "ci95": [score - 0.2, score + 0.2],
                    "standard_error": 0.1,
                },
                "baselines": {"context_length": 200.5 + i, "distinct_2": 0.31, "perplexity": None},
                "models": {"tiny": {"pretrain": outcome, "sft": outcome}},
            }
        )
    return analyse(cells) | {
        "cells": cells,
        "seed": 0,
        "seeds": [0],
        "notices": ["written by a stand-in"],
        "command": "synthdiv study --config=x.gin",
        "synthdiv_version": "0.1.0",
        "seconds": 12.3,
    }


def test_the_page_stands_alone_and_shows_what_is_measured(tmp_path):
    study = made_up_study()
    page = write_report(tmp_path, study).read_text()
    for cell in study["cells"]:
        outcome = cell["models"]["tiny"]["sft"]
        assert f"{100 * outcome['accuracy']:.1f} \u00b1 1.9" in page
        assert f"{cell['corpus']['tokens']:,}" in page
        assert f"{cell['score']['mean']:.2f}" in page
    low, high = study["regression"]["tiny"]["sft"]["ci95"]
    assert f"95% interval {100 * low:+.2f} to {100 * high:+.2f}" in page
    assert "The interval excludes zero." in page
    assert "<strong>tiny, fine-tuned.</strong>" in page
    assert "written by a stand-in" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    names = ["accuracy", "answer_bits_per_byte", "bits_per_byte", "bits_per_byte_tales_more"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        f"tiny_{phase}_{name}.svg"
        for phase in ("fine_tuned", "pre_trained")
        for name in (*names, "probability")
    ]


def test_every_outcome_has_its_figure_and_chance_is_drawn_and_named(tmp_path):
    page = write_report(tmp_path, made_up_study()).read_text()
    for title in (
        *("Accuracy", "Probability of the right answer", "Bits per byte of the right answer"),
        *("Bits per byte of held-out text", "Bits per byte of tales &amp; more"),
    ):
        assert f"<h3>{title}</h3>" in page
    assert page.count(">chance 25</text>") == 4, "accuracy and probability, of two phases"
    row = next(line for line in page.splitlines() if 'scope="row">chance<' in line)
    assert row.count(">25.0<") == 2
    rows = [line for line in page.splitlines() if 'scope="row">chance<' in line]
    assert rows[1].count(">25.00<") == 4 and rows[1].count(">-<") == 6
    assert "+1.00 points of probability of the right answer per unit of score" in page


def test_evaluations_of_an_earlier_version_have_accuracy_and_bits_per_byte():
    old = {"accuracy": 0.5, "stderr": 0.1, "bits_per_byte": 2.0, "tasks": {}}
    found = figures(outcome_of(old | {"corpora": {}}))
    assert set(found) == {"accuracy", "bits_per_byte"} and found["accuracy"]["chance"] is None


def test_what_is_not_known_is_a_dash_and_breaks_nothing(tmp_path):
    study = made_up_study()
    few = study["cells"][0]
    few["score"] = {"mean": 1.5, "ci95": [None, None], "standard_error": None}
    outcome = few["models"]["tiny"]["sft"]
    outcome |= {"stderr": None, "bits_per_byte": None, "texts": {}}
    study |= analyse(study["cells"])
    page = write_report(tmp_path, study).read_text()
    row = next(line for line in page.splitlines() if 'scope="row">few<' in line)
    assert "- to -" in row and "26.0 \u00b1 -" in row and "None" not in row + results_table(study)
    charts = page.split("<h3>")[1].count('class="error"')
    whole = write_report(tmp_path, made_up_study()).read_text().split("<h3>")[1]
    assert whole.count('class="error"') - charts == 4, "two in each chart"


def test_a_flat_result_is_called_flat(tmp_path):
    page = write_report(tmp_path, made_up_study(slope=0.0)).read_text()
    accuracy = page.split("<h3>")[1]
    assert "holds zero" in accuracy and "excludes zero" not in accuracy


def test_two_corpora_get_no_interval(tmp_path):
    page = write_report(tmp_path, made_up_study(names=("a", "b"))).read_text()
    assert page.count("Two points make no correlation") == 21, "ten charts twice, and once"
    assert "Pearson" not in page


def test_names_are_text(tmp_path):
    name = "<script>alert(1)</script>"
    page = write_report(tmp_path, made_up_study(names=(name, "b", "c"))).read_text()
    assert name not in page and "&lt;script&gt;" in page


def test_figures_are_svg_files_that_parse(tmp_path):
    from xml.etree import ElementTree

    write_report(tmp_path, made_up_study(names=("a & b", "b", "c")))
    for path in (tmp_path / "figures").iterdir():
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_results_table_lines_up():
    lines = results_table(made_up_study()).splitlines()
    assert len(lines) == 7 and len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1].split() == ["chance", "25.0", "25.0"]
    assert lines[2].startswith("few")


def test_the_page_is_made_of_study_json_alone(tmp_path):
    study = made_up_study()
    files.write_json(tmp_path / "study.json", study)
    (tmp_path / "again").mkdir()
    direct = write_report(tmp_path, study).read_text()
    again = write_report(tmp_path / "again", files.read_json(tmp_path / "study.json")).read_text()
    assert direct == again


@pytest.mark.parametrize("phase", ["pretrain", "sft"])
def test_a_line_needs_different_scores(tmp_path, phase):
    study = made_up_study(names=("a", "b", "c"))
    study["outcomes"]["tiny"][phase]["accuracy"] |= regress([1, 1, 1], [0.2, 0.3, 0.4])
    assert "No line can be fitted" in write_report(tmp_path, study).read_text()


def test_baselines_are_rows_that_say_how_they_go_with_each_outcome(tmp_path):
    page = write_report(tmp_path, made_up_study()).read_text()
    assert re.search(r"Context length</th><td.*?>200.5</td>", page)
    assert page.count("<summary>Other metrics with tiny") == 10
    assert re.search(r"Context length</th><td class=\"n\">\+0.99</td>", page)
    assert "Perplexity" not in page


def test_statistics_are_tables(tmp_path):
    study = made_up_study()
    page = write_report(tmp_path, study).read_text()
    fit = study["outcomes"]["tiny"]["sft"]["accuracy"]
    low, high = fit["pearson_ci95"]
    assert f"{low:+.2f} to {high:+.2f}" in page and f'<td class="n">{fit["p_holm"]:.3f}<' in page
    assert "tiny fine-tuned less tiny pre-trained: accuracy" in page
    assert "given tokens" in page and "With one training run a" in page


def test_equal_accuracies_are_called_equal(tmp_path):
    study = made_up_study(names=("a", "b", "c"))
    study["outcomes"]["tiny"]["sft"]["accuracy"] |= regress([1, 2, 3], [0.3, 0.3, 0.3])
    assert "All 3 corpora led to the same accuracy." in write_report(tmp_path, study).read_text()
