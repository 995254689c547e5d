"""The study's page shows the figures of study.json, escapes names, and stands alone."""

import csv
import re

import pytest

from synthdiv import files
from synthdiv.baselines.catalogue import METRICS
from synthdiv.reporting.study_findings import findings, limits
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
                    "epochs": 1.5,
                },
                "origin": {
                    "written_by": "a writer" if i else None,
                    "writer_backends": [],
                    "judged_by": "a judge",
                    "judge_backend": "offline",
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
        "trained": {
            "tiny": {
                "parameters": 1_926_560,
                "synthetic_tokens": 500_000.0,
                "real_tokens": 20_000.0,
                "tokens": 520_000.0,
            }
        },
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
    assert "<strong>tiny fine-tuned.</strong>" in page
    assert "written by a stand-in" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    names = ["accuracy", "answer_bits_per_byte", "bits_per_byte", "bits_per_byte_tales_more"]
    assert sorted(p.name for p in (tmp_path / "figures").glob("tiny*")) == [
        f"tiny_{phase}_{name}.svg"
        for phase in ("fine_tuned", "pre_trained")
        for name in (*names, "probability")
    ]


def test_every_outcome_has_its_figure_and_chance_is_drawn_and_named(tmp_path):
    page = write_report(tmp_path, made_up_study()).read_text()
    assert '<h2 id="figure-title">Bits per byte of held-out text against diversity</h2>' in page
    for title in (
        *("Accuracy", "Probability of the right answer", "Bits per byte of the right answer"),
        "Bits per byte of tales &amp; more",
    ):
        assert f"<h3>{title}</h3>" in page
    assert page.count(">chance 25</text>") == 4, "accuracy and probability, of two phases"
    rows = [line for line in page.splitlines() if 'scope="row"' in line and ">chance<" in line]
    assert rows[0].count(">25.0<") == 2, "accuracy of two phases among the scores"
    assert sum(row.count(">25.00<") for row in rows) == 4
    assert "+1.00 points of probability of the right answer per unit of score" in page


def test_points_lead_to_the_reports_of_scores(tmp_path):
    page = write_report(tmp_path, made_up_study(names=("a b", "b", "c", "d"))).read_text()
    chart = page.split('id="figure-title"')[1].split("</svg>")[0]
    assert 'role="group"' in chart and chart.count("<a href=") == 4
    assert '<a href="a%20b/score/report.html" aria-label="a b: LLM cluster score 1.5' in chart
    assert "<a " not in (tmp_path / "figures" / "tiny_pre_trained_accuracy.svg").read_text()


@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (-0.05, "The more diverse corpora make better models: per unit of LLM cluster score, "
         "bits per byte of held-out text (tiny pre-trained) changes by -0.05"),
        (0.05, "The more diverse corpora make worse models"),
        (0.0, "These corpora do not show that diversity helps or harms"),
    ],
)  # fmt: skip
def test_the_finding_is_what_the_interval_allows(slope, said):
    study = made_up_study()
    noise = [0.003, -0.002, 0.002, -0.003]
    for i, cell in enumerate(study["cells"]):
        for outcome in cell["models"]["tiny"].values():
            outcome["texts"]["docs"]["bits_per_byte"] = 2.5 + slope * i + noise[i]
    study |= analyse(study["cells"])
    first = findings(study, METRICS)[0]
    assert first.startswith(said)
    fit = study["outcomes"]["tiny"]["pretrain"]["bits_per_byte"]
    low, high = fit["ci95"]
    assert f"95% interval {low:+.4f} to {high:+.4f}" in first and "4 corpora" in first


def test_a_finding_that_correction_takes_away_is_only_seeming():
    study = made_up_study()
    fit = study["outcomes"]["tiny"]["pretrain"]["bits_per_byte"]
    fit |= {"slope": -0.1, "ci95": [-0.19, -0.01], "p_holm": 0.3}
    first = findings(study, METRICS)[0]
    assert first.startswith("The more diverse corpora seem to make better models")
    assert "p is 0.300." in first


def test_limits_are_of_this_study():
    study = made_up_study()
    said = " ".join(limits(study))
    assert "1,926,560 parameters read 520,000 tokens" in said
    assert "trained once" in said and "offline stand-in" in said and "Corpora were read" not in said
    study["cells"][0]["corpus"]["epochs"] = 3.0
    study["cells"][3]["corpus"]["documents"] = 100
    study["seeds"] = [0, 1]
    said = " ".join(limits(study))
    assert "trained once" not in said and "from 1.5 to 3.0 times" in said
    assert "More diverse corpora have more document length" in said
    for cell, epochs in zip(study["cells"], (0.051, 0.06, 0.07, 0.083), strict=True):
        cell["corpus"]["epochs"] = epochs
    assert "from 0.051 to 0.083 times" in " ".join(limits(study))


def test_accuracy_is_held_against_chance():
    said = next(one for one in findings(made_up_study(), METRICS) if "In accuracy" in one)
    assert "3 of 4 tiny pre-trained models are above chance" in said and "25.0%" in said


def test_tables_are_files_with_whole_figures_and_marks(tmp_path):
    study = made_up_study(names=("a_b", "b", "c", "d"))
    write_report(tmp_path, study)
    rows = list(csv.DictReader((tmp_path / "tables" / "slopes.csv").open()))
    fit = study["outcomes"]["tiny"]["sft"]["accuracy"]
    row = next(one for one in rows if one["Outcome"] == "tiny fine-tuned: accuracy, %")
    assert float(row["Slope, 95% interval low"]) == pytest.approx(100 * fit["ci95"][0], rel=1e-12)
    tex = (tmp_path / "tables" / "results.tex").read_text()
    assert r"a\_b & 1.50 & 1.30 to 1.70 & 26.0 $\pm$ 1.9" in tex
    assert tex.count(r"\\") == 6
    page = (tmp_path / "report.html").read_text()
    linked = set(re.findall(r'href="((?:tables|figures)/[^"]+)"', page))
    assert linked == {
        f"{folder}/{one.name}" for folder in ("tables", "figures")
        for one in (tmp_path / folder).iterdir()
    }  # fmt: skip


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
    row = next(line for line in page.splitlines() if 'scope="row"' in line and ">few<" in line)
    assert "- to -" in row and "26.0 \u00b1 -" in row and "None" not in row + results_table(study)
    # Accuracy, which is now all there is, is the figure that comes first.
    first = page.split("<h2")[2].split("<figure")[1]
    assert "against diversity" in page.split("<h2")[2] and first.count('class="error"') == 6


def test_a_flat_result_is_called_flat(tmp_path):
    page = write_report(tmp_path, made_up_study(slope=0.0)).read_text()
    accuracy = page.split("<h3>Accuracy</h3>")[1].split("<h3>")[0]
    assert "holds zero" in accuracy and "excludes zero" not in accuracy


def test_two_corpora_get_no_interval(tmp_path):
    page = write_report(tmp_path, made_up_study(names=("a", "b"))).read_text()
    few = "Two corpora make no correlation"
    assert page.count(few) == 22, "ten charts twice, the finding and the statistics"
    assert "95% interval of" not in page
    assert not (tmp_path / "tables" / "slopes.csv").exists()


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
    assert len(lines) == 7
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


def test_baselines_are_columns_and_say_how_they_go_with_each_outcome(tmp_path):
    page = write_report(tmp_path, made_up_study()).read_text()
    assert re.search(r'data-label="Context length"[^>]*>200.5</td>', page)
    rows = list(csv.DictReader((tmp_path / "tables" / "metrics_and_outcomes.csv").open()))
    assert sum(row["Metric"] == "Context length" for row in rows) == 10
    assert "Perplexity" not in page


def test_statistics_are_tables(tmp_path):
    study = made_up_study()
    page = write_report(tmp_path, study).read_text()
    fit = study["outcomes"]["tiny"]["sft"]["accuracy"]
    low, high = fit["pearson_ci95"]
    assert f"{low:+.2f} to {high:+.2f}" in page and f"<strong>{fit['p_holm']:.3f}<" in page
    assert "tiny fine-tuned less tiny pre-trained: accuracy" in page
    assert "given tokens" in page and "With one training run a" in page


def test_equal_accuracies_are_called_equal(tmp_path):
    study = made_up_study(names=("a", "b", "c"))
    study["outcomes"]["tiny"]["sft"]["accuracy"] |= regress([1, 2, 3], [0.3, 0.3, 0.3])
    assert "All 3 corpora led to the same accuracy." in write_report(tmp_path, study).read_text()


def test_equal_scores_and_hidden_lines_are_said_to_be_so():
    study = made_up_study()
    for cell in study["cells"]:
        cell["score"] |= {"mean": 5.0, "standard_error": 0.0}
    assert "have the same score" in findings(study | analyse(study["cells"]), METRICS)[0]
    study = made_up_study()
    for cell in study["cells"]:
        cell["score"]["standard_error"] = 1.2
    study |= analyse(study["cells"])
    assert "the errors of the scores" in findings(study, METRICS)[0]
    assert any("are their own errors" in one for one in limits(study))


def test_equal_outcomes_have_no_error_of_a_slope_and_a_partial_correlation_its_doubt():
    study = made_up_study()
    for place, cell in enumerate(study["cells"]):
        cell["baselines"]["perplexity"] = [3.0, 1.0, 4.0, 1.5][place]
        for outcome in cell["models"]["tiny"].values():
            outcome["texts"] = {"docs": {"bits_per_byte": 2.5, "standard_error": 0.02}}
    study |= analyse(study["cells"])
    assert not any("in the slope" in one for one in limits(study))
    study = made_up_study(("a", "b", "c", "d", "e"))
    for place, cell in enumerate(study["cells"]):
        text = {"bits_per_byte": [2.5, 2.4, 2.45, 2.55, 2.42][place], "standard_error": 0.02}
        cell["models"]["tiny"] = {
            "pretrain": cell["models"]["tiny"]["sft"] | {"texts": {"d": text}}
        }
    words = " ".join(findings(study | analyse(study["cells"]), METRICS))
    assert "given tokens (the interval holds zero)" in words
