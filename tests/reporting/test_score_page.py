"""The score report: what it shows, that text cannot run in it, and how it opens in a browser."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from synthdiv.baselines import BaselineConfig
from synthdiv.diversity import ScoreConfig, score_corpora
from synthdiv.diversity.report import groups_of, write_report
from synthdiv.errors import UserError
from synthdiv.files import Corpus, CorpusWriter, read_json
from synthdiv.llm import LLMConfig, open_session
from synthdiv.reporting import score_data
from synthdiv.reporting.charts import number
from synthdiv.reporting.score_data import ROUNDS_IN_BLOCK
from synthdiv.reporting.score_figures import plot_score
from synthdiv.reporting.score_files import ScoreFiles, read_score_files
from synthdiv.reporting.score_page import score_page

SUBJECTS = {
    "stars": "the telescope shows a distant star whose planet moves in a narrow orbit of dust",
    "bread": "knead the dough with flour and yeast until the loaf rises in a warm oven",
    "trade": "the merchant sold grain at the market for silver coins and paid his debt",
    "horses": "a rider saddled the horse and rode through the meadow to the old stable",
}
HOSTILE = [
    "<script>window.hacked = 1</script> a plain script element in a document",
    "</script><script>window.hacked = 1</script> one that ends the data first",
    "<img src=x onerror='window.hacked = 1'> an image that fails <svg onload=window.hacked=1>",
    "<!-- a comment that is not closed <script> and an entity &lt;b&gt; &amp;",
    "{{ 7 * 7 }} {% raw %} a template's marks, and ]]> and \u2028 and \u2029",
    "\u202e right to left \u05e9\u05dc\u05d5\u05dd, a null \x00 and half a pair \ud800 here",
    'javascript:window.hacked=1 "quotes" onfocus="window.hacked=1" autofocus \'single\'',
    "=HYPERLINK(1) begins like a formula, \x1b[31m and \x07 are controls " + "w" * 100_000,
    "",
]


def write_corpus(path, texts):
    writer = CorpusWriter(path)
    names = list(SUBJECTS)
    rows = [
        {
            "id": f"doc-{i}",
            "text": text.encode("utf-8", "replace").decode(),
            "topic": names[i % len(names)],
            "style": "<b onclick='window.hacked=1'>bold</b>" if i % 3 else "plain",
        }
        for i, text in enumerate(texts)
    ]
    writer.write(rows)
    writer.close({})
    return Corpus(path)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A score directory that the real commands' functions wrote, of a corpus with hostile texts."""
    root = tmp_path_factory.mktemp("scored")
    subjects = list(SUBJECTS.values())
    texts = [f"{subjects[i % 4]} part {i} {subjects[i % 4][i % 20 :]}" for i in range(80)]
    corpus = write_corpus(root / "corpus", texts + HOSTILE)
    config = ScoreConfig(
        rounds=60,
        criteria_rounds=4,
        criteria_sets=2,
        repeat_fraction=0.2,
        labels="topic",
        baselines=BaselineConfig(embedding_documents=50),
    )
    with open_session(LLMConfig(backend="offline"), None) as session:
        score_corpora([corpus], root / "score", config, session)
    return root / "score"


def copy_of(scored, directory, edit=lambda rows: None):
    """A score directory again, with rows of rounds.parquet changed by `edit`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("score.json", "documents.parquet"):
        (directory / name).write_bytes((scored / name).read_bytes())
    rows = pq.read_table(scored / "rounds.parquet").to_pylist()
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows), directory / "rounds.parquet")
    return directory


class Outline(HTMLParser):
    """Headings in order, ids, and whether every element is closed."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, page):
        super().__init__()
        self.headings, self.ids, self.scripts, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag == "script":
            self.scripts.append(dict(attributes).get("type"))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_well_formed_and_its_headings_are_in_order(scored):
    outline = Outline((scored / "report.html").read_text())
    assert outline.open == []
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    for before, after in zip(outline.headings, outline.headings[1:], strict=False):
        assert after <= before + 1
    assert len(set(outline.ids)) == len(outline.ids)


def test_only_data_and_one_script_of_ours_are_in_the_page(scored):
    page = (scored / "report.html").read_text()
    scripts = Outline(page).scripts
    assert scripts.count(None) == 1
    assert set(scripts) == {None, "application/json"}
    for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S):
        assert "<" not in block and "\u2028" not in block
        json.loads(block)
    assert "http://" not in page and "https://" not in page


def test_every_figure_of_the_score_is_shown(scored):
    score = read_json(scored / "score.json")
    page = (scored / "report.html").read_text()
    for value in (
        score["score"]["mean"],
        *score["score"]["ci95"],
        score["score"]["standard_error"],
        score["pairs"]["effective_clusters"]["mean"],
    ):
        assert f"{value:.2f}" in page
    for value in (
        score["agreement"]["labels"]["ari"],
        score["agreement"]["labels"]["perfect_judge"]["mean"],
        score["baselines"]["ngram_diversity"],
        score["baselines"]["vendi_score"],
        score["calls"]["sent"],
    ):
        assert number(value) in page
    for facet in score["facets"]:
        assert facet["name"] in page
    assert "not a language model" in page


def test_a_report_without_documents_or_optional_parts_still_opens(scored):
    score = read_json(scored / "score.json")
    for name in ("facets", "agreement", "pairs", "baselines", "criteria", "control_variate"):
        score.pop(name)
    page = score_page(ScoreFiles(score, (), {}), [], {})
    assert "LLM cluster score" in page and "What recurs" not in page
    Outline(page)


def test_failed_and_empty_rounds_are_shown_as_such(scored, tmp_path):
    def edit(rows):
        del rows[5:]
        rows[0] |= {"failed": True, "clusters": [], "verdicts": [], "names": [], "reasons": []}
        rows[1] |= {"verdicts": [False] * len(rows[1]["clusters"]), "C": 0, "S": None}
        rows[1]["score"] = None

    copy_of(scored, tmp_path, edit)
    page = score_page(read_score_files(tmp_path), [], {})
    about = json.loads(re.search(r'id="about">(.*?)</script>', page).group(1))
    assert "failed" in about["flags"][0] and "rejected" in about["flags"][1]


def test_a_score_directory_is_plotted(scored):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plots)")
    running, clusters, sizes = plot_score(scored).axes
    mean = read_json(scored / "score.json")["score"]["mean"]
    assert running.lines[0].get_ydata()[-1] == pytest.approx(mean)
    assert sum(bar.get_height() for bar in clusters.patches) == pytest.approx(1)
    assert sum(bar.get_height() for bar in sizes.patches) == pytest.approx(1)


def test_missing_files_are_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="score.json"):
        write_report(tmp_path)
    (tmp_path / "score.json").write_text("{}")
    with pytest.raises(UserError, match="rounds.parquet"):
        write_report(tmp_path)


def test_the_corpus_itself_can_give_the_documents(scored, tmp_path):
    for name in ("score.json", "rounds.parquet"):
        (tmp_path / name).write_bytes((scored / name).read_bytes())
    page = write_report(tmp_path, Corpus(scored.parent / "corpus")).read_text()
    assert "doc-3" in page
    without = write_report(tmp_path).read_text()
    assert "doc-3" not in without


def show_every_document(window):
    """Opens every fold of the page, and of every round in turn; returns the texts shown."""
    return window.run("""(async () => {
      for (const box of document.querySelectorAll("details")) box.open = true;
      const texts = [];
      const next = document.getElementById("next");
      for (;;) {
        for (const box of document.querySelectorAll("#shown details")) box.open = true;
        await new Promise((done) => setTimeout(done, 0));
        await new Promise((done) => setTimeout(done, 0));
        texts.push(...[...document.querySelectorAll("#shown .text")].map((e) => e.textContent));
        if (next.disabled) return texts;
        next.click();
      }
    })()""")


def test_hostile_documents_are_shown_and_do_not_run(scored, window):
    window.open(scored / "report.html")
    texts = " ".join(show_every_document(window))
    assert "window.hacked = 1</script> a plain script element" in texts
    assert "{{ 7 * 7 }}" in texts
    assert window.run("typeof window.hacked") == "undefined"
    assert (
        window.run("document.querySelectorAll('#shown img, #shown script, #shown b').length") == 0
    )
    assert window.faults == []
    assert window.requests == [(scored / "report.html").resolve().as_uri()]


def test_hostile_words_of_the_judge_do_not_run(scored, window, tmp_path):
    evil = "</script><img src=x onerror=window.hacked=1><script>window.hacked=1</script>"

    def edit(rows):
        for row in rows:
            row["names"] = [evil] * len(row["names"])
            row["reasons"] = [evil] * len(row["reasons"])

    copy_of(scored, tmp_path, edit)
    score = read_json(scored / "score.json")
    score["criteria"][0] |= {"name": evil, "sentence": evil}
    score["corpus"]["name"] = score["judge"]["model"] = evil
    score["facets"][0]["name"] = evil
    (tmp_path / "score.json").write_text(json.dumps(score))
    window.open(write_report(tmp_path))
    show_every_document(window)
    assert window.run("typeof window.hacked") == "undefined"
    assert window.run("document.title") == f"Diversity of {evil}"
    assert window.faults == []


def test_rounds_are_browsed_with_the_keyboard(scored, window):
    window.open(scored / "report.html")
    window.run("document.getElementById('next').focus()")
    before = window.run("document.getElementById('state').textContent")
    window.page.keyboard.press("Enter")
    after = window.run("document.getElementById('state').textContent")
    assert before.startswith("Round 0;") and after.startswith("Round 1;")
    assert window.run("document.activeElement.id") == "next"
    window.run("document.getElementById('round').focus()")
    window.run("document.getElementById('round').select()")
    window.page.keyboard.type("42")
    window.page.keyboard.press("Enter")
    assert window.run("document.getElementById('state').textContent").startswith("Round 42;")
    window.run("document.querySelector('#shown summary').focus()")
    window.page.keyboard.press("Enter")
    assert window.run("document.querySelector('#shown details').open") is True
    reachable = window.run(
        "[...document.querySelectorAll('a, button, input, select, summary, .scroll')]"
        ".every((e) => e.tabIndex >= 0)"
    )
    assert reachable


def test_the_filter_shows_only_rounds_of_its_kind(scored, window):
    rounds = json.loads(
        re.search(r'id="about">(.*?)</script>', (scored / "report.html").read_text()).group(1)
    )
    window.open(scored / "report.html")
    for kind in ("rejected", "repaired", "alike", "failed"):
        window.run(
            f"document.getElementById('filter').value = '{kind}';"
            "document.getElementById('filter').dispatchEvent(new Event('change'))"
        )
        shown = window.run("document.getElementById('state').textContent")
        expected = [i for i, flags in enumerate(rounds["flags"]) if kind in flags]
        assert shown.startswith(f"Round {expected[0]};" if expected else "No such round")


def until(window, condition):
    """Waits for a condition; the page's policy forbids playwright's own way of doing so."""
    window.run(
        f"new Promise((done) => {{ const look = () => ({condition}) ? done() : "
        "setTimeout(look, 5); look(); })"
    )


def choose_group(window, number=0):
    window.run(f"location.hash = 'show-group-{number}'")
    until(window, "document.getElementById('hits').textContent.includes('group')")


def search(window, words):
    """Types words into the search and returns what it says and the documents shown."""
    window.run("document.getElementById('hits').textContent = ''")
    window.page.fill("#search", words)
    until(window, "document.getElementById('hits').textContent")
    return (
        window.run("document.getElementById('hits').textContent"),
        window.run("[...document.querySelectorAll('#results summary')].map(e => e.textContent)"),
    )


def test_documents_are_found_by_word_by_topic_and_by_group(scored, window):
    window.open(scored / "report.html")
    read = {d.id: d for d in read_score_files(scored).documents.values()}
    said, shown = search(window, "MERCHANT sold")
    expected = [d for d in read.values() if "merchant sold" in d.text]
    assert said == f"{len(expected)} documents" and all("merchant" in line for line in shown)
    said, _ = search(window, "bread")  # a topic: no text has the word
    assert said == f"{sum(d.provenance['topic'] == 'bread' for d in read.values())} documents"
    assert search(window, "no such word")[0] == "0 documents"
    identity = next(iter(read))
    assert any(f"({identity})" in line for line in search(window, identity)[1])


def test_a_group_leads_to_its_documents_and_rounds_and_back(scored, window):
    window.open(scored / "report.html")
    (group,) = groups_of(*of_score(scored))[:1]
    assert group.name in window.run("document.getElementById('group-0').textContent")
    choose_group(window)
    said = window.run("document.getElementById('hits').textContent")
    assert said == f"{group.documents} documents in the group {group.name}"
    window.run("document.querySelector('#results a[href^=\"#round-\"]').click()")
    until(window, "location.hash.startsWith('#round-')")
    number = window.run("location.hash.slice(7)")
    assert window.run("document.getElementById('state').textContent").startswith(f"Round {number};")
    link = "[...document.querySelectorAll('#shown a')].find(a => a.hash === '#show-group-0')"
    assert window.run(f"!!{link}"), "the round links to the group it was reached from"
    window.page.go_back()
    until(window, "location.hash === '#show-group-0'")
    window.run("document.querySelector('#results a[href=\"#group-0\"]').click()")
    assert window.run("location.hash") == "#group-0"
    assert window.faults == []


def test_what_is_looked_up_can_be_taken_along(scored, window):
    window.open(scored / "report.html")
    found = {}
    for name in ("groups.csv", "documents.csv", "rounds.csv", "score.json", "page.json"):
        with window.page.expect_download() as download:
            window.page.click(f"button[data-download='{name}']")
        found[name] = Path(download.value.path()).read_text(encoding="utf-8-sig")
    files = read_score_files(scored)
    documents = list(csv.DictReader(io.StringIO(found["documents.csv"], newline="")))
    assert [int(row["document"]) for row in documents] == sorted(files.documents)
    formulas = [row["text"] for row in documents if "HYPERLINK" in row["text"]]
    assert all(text.startswith("'=") for text in formulas)
    assert {row["topic"] for row in documents} == set(SUBJECTS)
    rounds = list(csv.DictReader(io.StringIO(found["rounds.csv"], newline="")))
    assert len(rounds) == len(files.clusters)
    names = [row["name"] for row in csv.DictReader(io.StringIO(found["groups.csv"], newline=""))]
    assert names == [group.name for group in groups_of(*of_score(scored))]
    assert json.loads(found["score.json"]) == read_json(scored / "score.json")
    assert len(json.loads(found["page.json"])["rounds"]) == len(files.rounds)


def test_a_page_holds_a_bounded_number_of_rounds_and_says_so(scored, monkeypatch):
    monkeypatch.setattr(score_data, "MOST_ROUNDS", 7)
    files = read_score_files(scored)
    page = score_page(files, groups_of(*of_score(scored)), {})
    about = json.loads(re.search(r'id="about">(.*?)</script>', page).group(1))
    assert about["rounds"] == [round_.number for round_ in files.rounds[:7]]
    assert about["documents"] == len({i for r in files.rounds[:7] for i in r.indices})
    assert "This page holds the first 7 of 60 rounds" in page


def of_score(directory):
    files = read_score_files(directory)
    return files.clusters, files.documents, bool(files.values)


@pytest.fixture(scope="module")
def valued(scored, tmp_path_factory):
    """The same corpus described by values at levels, beside another one."""
    root = tmp_path_factory.mktemp("valued")
    other = write_corpus(root / "stars", [f"{SUBJECTS['stars']} part {i}" for i in range(60)])
    corpora = [Corpus(scored.parent / "corpus"), other]
    config = ScoreConfig(
        rounds=12,
        prompts="prompts/levels",
        criteria_rounds=6,
        criteria_sets=1,
        coverage_documents=10,
        with_baselines=False,
    )
    with open_session(LLMConfig(backend="offline"), None) as session:
        score_corpora(corpora, root / "out", config, session, compare=True, command="synthdiv it")
    return root / "out"


def test_a_comparison_differs_at_every_level(valued, window):
    found = read_json(valued / "comparison.json")
    by_level = {one["level"]: one for one in found["level_differences"]}
    levels = [
        {f"{one['facet']}.{one['level']}": one for one in corpus["levels"]}
        for corpus in found["corpora"].values()
    ]
    assert by_level.keys() == levels[0].keys()
    for name, one in by_level.items():
        means = [at[name]["mean"] for at in levels]
        assert one["difference"] == pytest.approx(means[0] - means[1])
        assert one["ci95"][0] <= one["difference"] <= one["ci95"][1]
    (headline,) = found["differences"]
    assert by_level[found["level"]] == {"level": found["level"]} | headline
    for corpus, at in zip(found["corpora"].values(), levels, strict=True):
        assert (
            at[found["level"]]["effective_values"] == corpus["pairs"]["effective_clusters"]["mean"]
        )
    window.open(valued / "report.html", 1280, False)
    shown = window.run("document.querySelector('#levels tbody').textContent")
    assert shown.count(", p ") == len(by_level)


def test_values_say_what_a_corpus_is_made_of_and_lead_to_documents(valued, window):
    name = next(iter(read_json(valued / "comparison.json")["corpora"]))
    score = read_json(valued / name / "score.json")
    window.open(valued / name / "report.html", 400, True)
    window.run("for (const box of document.querySelectorAll('details')) box.open = true")
    assert window.violations() == [] and window.faults == []
    assert window.run("document.documentElement.scrollWidth") <= 400
    commonest = next(one for one in score["levels"] if one["level"] == "field")["values"][0]
    (first,) = window.run(
        "[document.querySelector('#values .values .value').parentElement.textContent]"
    )
    assert commonest["value"] in first and f"{100 * commonest['share']:.1f}%" in first
    assert "synthdiv it" in window.run("document.querySelector('.made').textContent")
    choose_group(window)
    shown = window.run("document.querySelectorAll('#results > details').length")
    assert shown > 0
    assert window.run("document.querySelector('header a').getAttribute('href')") == "../report.html"
    window.open(valued / "report.html", 400, True)
    assert window.run("document.title") == "Diversity of 2 corpora"
    assert window.run("document.querySelectorAll('#groups a').length") == 2
    assert window.violations() == []


@pytest.mark.parametrize("width, dark", [(400, True), (1280, False)])
def test_accessible_and_without_sideways_scrolling(scored, window, width, dark):
    window.open(scored / "report.html", width, dark)
    choose_group(window)
    few = "#results > details:nth-of-type(-n + 3), #shown > :first-child details"
    window.run(
        f"for (const box of document.querySelectorAll('section > details, li details, {few}'))"
        " box.open = true"
    )
    assert window.run("document.documentElement.scrollWidth") <= width
    assert window.violations() == []


def test_rounds_and_documents_beyond_the_first_block_are_found(scored, window, tmp_path):
    """Blocks are parsed when they are asked for: only those that the shown round needs."""

    def edit(rows):
        fresh = [
            row | {"round": number, "indices": list(range(10 * number, 10 * number + 10))}
            for number, row in enumerate(
                rows[i % len(rows)] for i in range(2 * ROUNDS_IN_BLOCK + 1)
            )
            if len(row["indices"]) == 10
        ]
        rows[:] = fresh

    copy_of(scored, tmp_path, edit)
    path = tmp_path / "report.html"
    path.write_text(score_page(read_score_files(tmp_path), [], {}))
    window.open(path)
    last = 2 * ROUNDS_IN_BLOCK
    window.run(
        f"document.getElementById('round').value = {last};"
        "document.getElementById('round').dispatchEvent(new Event('change'))"
    )
    assert window.run("document.getElementById('state').textContent").startswith(f"Round {last};")
    shown = window.run("[...document.querySelectorAll('#shown summary')].map(e => e.textContent)")
    assert {int(re.match(r"Document (\d+)", text)[1]) for text in shown} == {
        *range(10 * last, 10 * last + 10)
    }
    assert window.faults == []
