"""The score report: what it shows, that text cannot run in it, and how it opens in a browser."""

import json
import re
from html.parser import HTMLParser

import pytest

from synthdiv.baselines import BaselineConfig
from synthdiv.diversity import ScoreConfig, score_corpora
from synthdiv.diversity.recurring import Cluster, find_recurring
from synthdiv.diversity.report import render, write_report
from synthdiv.errors import UserError
from synthdiv.files import Corpus, CorpusWriter, Document, read_json
from synthdiv.llm import LLMConfig, open_session
from tests.browser import open_page

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


def many_rounds(directory, scored, count):
    """The rounds of a score directory again and again, with 5,000 documents of their own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory.mkdir()
    score = read_json(scored / "score.json")
    (directory / "score.json").write_text(json.dumps(score))
    rounds = pq.read_table(scored / "rounds.parquet").to_pylist()
    documents = pq.read_table(scored / "documents.parquet").to_pylist()
    place = {row["index"]: i for i, row in enumerate(documents)}
    more_rounds, more_documents = [], []
    for number in range(count):
        row = dict(rounds[number % len(rounds)])
        fresh = [(10 * number + i) % 5000 for i in range(len(row["indices"]))]
        for index, old in zip(fresh, row["indices"], strict=True):
            if index == len(more_documents):
                text = (documents[place[old]]["text"] + " ") * 20
                more_documents.append(documents[place[old]] | {"index": index, "text": text})
        more_rounds.append(row | {"round": number, "indices": fresh})
    pq.write_table(pa.Table.from_pylist(more_rounds), directory / "rounds.parquet")
    pq.write_table(pa.Table.from_pylist(more_documents), directory / "documents.parquet")
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
    from synthdiv.reporting.charts import number

    score = read_json(scored / "score.json")
    page = (scored / "report.html").read_text()
    for value in (
        score["score"]["mean"],
        *score["score"]["ci95"],
        score["score"]["standard_error"],
        score["pairs"]["effective_clusters"]["mean"],
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
    page = render(score, [], {})
    assert "LLM cluster score" in page and "What recurs" not in page
    Outline(page)


def test_failed_and_empty_rounds_are_shown_as_such(scored):
    import pyarrow.parquet as pq

    score = read_json(scored / "score.json")
    rounds = pq.read_table(scored / "rounds.parquet").to_pylist()[:5]
    rounds[0] |= {"failed": True, "clusters": [], "verdicts": [], "names": [], "reasons": []}
    rounds[1] |= {"verdicts": [False] * len(rounds[1]["clusters"]), "C": 0, "S": None}
    rounds[1]["score"] = None
    page = render(score, rounds, {})
    about = json.loads(re.search(r'id="about">(.*?)</script>', page).group(1))
    assert "failed" in about["flags"][0] and "rejected" in about["flags"][1]


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


@pytest.fixture(scope="module")
def page():
    with open_page() as opened:
        yield opened


def show_every_document(page):
    """Opens every fold of the page, and of every round in turn; returns the texts shown."""
    return page.run("""(async () => {
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


def test_hostile_documents_are_shown_and_do_not_run(scored, page):
    page.open(scored / "report.html")
    texts = " ".join(show_every_document(page))
    assert "window.hacked = 1</script> a plain script element" in texts
    assert "{{ 7 * 7 }}" in texts
    assert page.run("typeof window.hacked") == "undefined"
    assert page.run("document.querySelectorAll('#shown img, #shown script, #shown b').length") == 0
    assert page.faults == []
    assert page.requests == [(scored / "report.html").resolve().as_uri()]


def test_hostile_words_of_the_judge_do_not_run(scored, page, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    score = read_json(scored / "score.json")
    evil = "</script><img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    score["criteria"][0] |= {"name": evil, "sentence": evil}
    score["corpus"]["name"] = score["judge"]["model"] = evil
    score["facets"][0]["name"] = evil
    (tmp_path / "score.json").write_text(json.dumps(score))
    rounds = pq.read_table(scored / "rounds.parquet").to_pylist()
    for row in rounds:
        row["names"] = [evil] * len(row["names"])
        row["reasons"] = [evil] * len(row["reasons"])
    pq.write_table(pa.Table.from_pylist(rounds), tmp_path / "rounds.parquet")
    (tmp_path / "documents.parquet").write_bytes((scored / "documents.parquet").read_bytes())
    page.open(write_report(tmp_path))
    show_every_document(page)
    assert page.run("typeof window.hacked") == "undefined"
    assert page.run("document.title") == f"Diversity of {evil}"
    assert page.faults == []


def test_rounds_are_browsed_with_the_keyboard(scored, page):
    page.open(scored / "report.html")
    page.run("document.getElementById('next').focus()")
    before = page.run("document.getElementById('state').textContent")
    page.key("Enter", 13, "\r")
    after = page.run("document.getElementById('state').textContent")
    assert before.startswith("Round 0;") and after.startswith("Round 1;")
    assert page.run("document.activeElement.id") == "next"
    page.run("document.getElementById('round').focus()")
    page.run("document.getElementById('round').select()")
    for digit in "42":
        page.key(digit, ord(digit), digit)
    page.key("Enter", 13, "\r")
    assert page.run("document.getElementById('state').textContent").startswith("Round 42;")
    page.run("document.querySelector('#shown summary').focus()")
    page.key("Enter", 13, "\r")
    assert page.run("document.querySelector('#shown details').open") is True
    reachable = page.run(
        "[...document.querySelectorAll('a, button, input, select, summary, .scroll')]"
        ".every((e) => e.tabIndex >= 0)"
    )
    assert reachable


def test_the_filter_shows_only_rounds_of_its_kind(scored, page):
    rounds = json.loads(
        re.search(r'id="about">(.*?)</script>', (scored / "report.html").read_text()).group(1)
    )
    page.open(scored / "report.html")
    for kind in ("rejected", "repaired", "alike", "failed"):
        page.run(
            f"document.getElementById('filter').value = '{kind}';"
            "document.getElementById('filter').dispatchEvent(new Event('change'))"
        )
        shown = page.run("document.getElementById('state').textContent")
        expected = [i for i, flags in enumerate(rounds["flags"]) if kind in flags]
        assert shown.startswith(f"Round {expected[0]};" if expected else "No such round")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
def test_accessible_and_without_sideways_scrolling(scored, page, dark, width):
    page.window(width, 900, dark)
    page.open(scored / "report.html")
    page.run("for (const box of document.querySelectorAll('details')) box.open = true")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.axe() == []


def test_opens_in_two_seconds_with_5000_rounds(scored, page, tmp_path):
    directory = many_rounds(tmp_path / "many", scored, 5000)
    path = write_report(directory)
    assert path.stat().st_size > 8e6
    seconds = min(page.open(path) for _ in range(2))
    assert page.faults == []
    assert seconds < 2
    start = page.run("performance.now()")
    page.run(
        "document.getElementById('round').value = 4321;"
        "document.getElementById('round').dispatchEvent(new Event('change'))"
    )
    assert page.run("performance.now()") - start < 1000
    assert page.run("document.getElementById('state').textContent").startswith("Round 4321;")


def planted(names, share_of_first=0.5, rounds=60):
    """Clusters of planted groups, named differently in every round."""
    clusters, documents = [], {}
    for number in range(rounds):
        for place, (name, text) in enumerate(names.items()):
            size = 4 if place == 0 else 2
            indices = []
            for _ in range(size):
                index = len(documents)
                style = "blog post" if place == 0 or index % 4 == 0 else "textbook"
                documents[index] = Document(str(index), f"{text} {index}", {"style": style})
                indices.append(index)
            words = ["about", "on", "concerning"][number % 3]
            clusters.append(
                Cluster(number, f"{words} {name}", f"speaks of {name}", tuple(indices), True)
            )
    return clusters, documents


def test_clusters_with_other_names_and_alike_documents_are_merged():
    clusters, documents = planted(SUBJECTS)
    groups = find_recurring(clusters, documents)
    assert len(groups) == 4
    first = groups[0]
    assert first.name.endswith("stars") and len(first.names) == 2
    assert first.share == pytest.approx(0.4)
    assert first.rounds == 1 and first.clusters == 60 and first.documents == 240
    assert set(first.examples) <= {i for c in clusters if "stars" in c.name for i in c.documents}
    assert first.origins[0].value == "blog post" and first.origins[0].share == 1
    assert first.origins[0].lift > 1.5
    assert sum(group.share for group in groups) == pytest.approx(1)


def test_no_clusters_no_groups():
    assert find_recurring([], {}) == []
    only = [Cluster(0, "", "", (0,), True)]
    (group,) = find_recurring(only, {0: Document("0", "")})
    assert group.share == 1
