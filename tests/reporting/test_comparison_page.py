"""The page of several corpora: what it shows, and that no name of a corpus can run in it."""

import json
import re

import pytest

from synthdiv.baselines import BaselineConfig
from synthdiv.baselines.catalogue import METRICS
from synthdiv.diversity import ScoreConfig, score_corpora
from synthdiv.errors import UserError
from synthdiv.files import Corpus, read_json
from synthdiv.llm import LLMConfig, open_session
from synthdiv.reporting.charts import number
from synthdiv.reporting.comparison_page import write_comparison_page


@pytest.fixture(scope="module", params=[True, False])
def compared(request, tmp_path_factory):
    """Two corpora scored under shared criteria and under their own."""
    root = tmp_path_factory.mktemp("compared")
    corpora = []
    for name, subjects in {
        "narrow": ["stars"],
        "wide": ["stars", "bread", "law", "rivers"],
    }.items():
        path = root / f"{name}.jsonl"
        rows = [
            {"text": f"the book of {subjects[i % len(subjects)]} tells of thing {i} " * (2 + i % 3)}
            for i in range(40)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpora.append(Corpus(path))
    config = ScoreConfig(
        rounds=12,
        criteria_rounds=3,
        criteria_sets=3,
        baselines=BaselineConfig(metrics=("ngram_diversity", "embedding")),
    )
    with open_session(LLMConfig(backend="offline"), None) as session:
        score_corpora(corpora, root / "out", config, session, compare=request.param)
    return root / "out"


def test_every_figure_is_shown_and_each_report_is_linked(compared):
    content = read_json(compared / "comparison.json")
    page = (compared / "report.html").read_text()
    for one in content["corpora"].values():
        assert f"{one['score']['mean']:.2f}" in page
    for one in content.get("differences", []):
        assert f"{abs(one['difference']):.2f}" in page, "from the higher to the lower"
    figures = content.get("matched_baselines", {}).get("corpora") or {
        name: one["baselines"] for name, one in content["corpora"].items()
    }
    for one in figures.values():
        assert number(one["ngram_diversity"]) in page
    for name in content["corpora"]:
        assert f'href="{name}/report.html"' in page
    assert "<script" not in page


def test_the_verdict_comes_first_and_says_what_each_metric_favours(compared):
    content = read_json(compared / "comparison.json")
    page = (compared / "report.html").read_text()
    first = re.search(r'<ul class="findings">\s*<li>(.*?)</li>', page)[1]
    if not content["shared_criteria"]:
        assert first.startswith("Most diverse is ") and "no measurement" in page
        assert 'id="groups"' not in page
        return
    assert first.startswith(("wide is more diverse than narrow", "No difference"))
    low, high = content["differences"][0]["ci95"]
    assert f"interval {min(-low, -high):.2f} to {max(-low, -high):.2f}" in first
    values = [one["ngram_diversity"] for one in content["matched_baselines"]["corpora"].values()]
    favoured = ("narrow", "wide")[values[1] > values[0]]
    row = page[page.index(METRICS["ngram_diversity"].title) :]
    assert re.search(r"\u2191</span>&nbsp;(\w+)", row)[1] == favoured
    assert re.search(r">wide</a></dt><dd><ul class=\"tags\"><li>", page), "something of its own"
    axis = re.findall(r'text-anchor="middle">([\d.]+)<', page)
    assert axis == ["0.1", "2", "4", "6", "8", "10"], "the whole range of the score"


def test_the_page_opens_and_is_accessible(compared, window):
    for width, dark in ((400, True), (1280, False)):
        window.open(compared / "report.html", width, dark)
        assert window.run("document.documentElement.scrollWidth") <= width
        assert window.faults == []
        assert window.violations() == []


def test_names_are_escaped(compared, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    content = read_json(compared / "comparison.json")
    content["corpora"] = {evil: content["corpora"]["wide"]}
    content["differences"] = [
        {"corpora": [evil, evil], "difference": 1, "ci95": [0, 2], "p_value": 1, "method": evil}
    ]
    content.pop("matched_baselines", None)
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    page = write_comparison_page(tmp_path, METRICS).read_text()
    assert "<img" not in page and "&lt;img" in page


def test_without_a_comparison_there_is_nothing_to_show(tmp_path):
    with pytest.raises(UserError, match="comparison.json"):
        write_comparison_page(tmp_path, METRICS)
