"""Topic seeds out of pages: de-duplication, the offline reader, real pages."""

import json
import sys
import types
from random import Random

import pytest

from synthdiv import files
from synthdiv.config import find
from synthdiv.errors import Paused, UserError
from synthdiv.generation import (
    Found,
    GenerateConfig,
    Merging,
    Topic,
    TopicsConfig,
    generate,
    make_topics,
    merge,
    merge_duplicates,
    plan_topics,
    read_topics,
)
from synthdiv.llm import LLMConfig, Session, Usage, open_session
from synthdiv.llm.money import FREE
from synthdiv.llm.protocol import Answer
from synthdiv.offline.backend import OfflineBackend

RIVETS = (
    "Riveting is a way to join metal plates. A hot rivet goes through both plates, and a hammer "
    "forms its head. Steel bridges and ships were riveted until welding came. The rivet cools, "
    "shrinks, and presses the plates together; bridges held by rivets still stand."
)
LIONS = (
    "The lion is a large cat of the African savanna. Lions live in prides of related lionesses, "
    "which hunt zebra and wildebeest together. The mane of the male darkens with age. Prides "
    "defend a territory; cubs of the pride are raised by all lionesses of the species."
)


def topic(path, *keywords):
    return Topic(tuple(path.split("/")), keywords)


def test_topics_that_differ_in_case_plural_or_punctuation_are_one():
    merged = merge_duplicates(
        [
            topic("Crafts/Textiles/Lace", "bobbins", "pins"),
            topic("crafts/Textile/lace!", "Bobbin", "linen"),
            topic("Arts and Crafts/Fabrics/Textiles/Lace", "patterns"),
        ]
    )
    assert merged == [topic("Crafts/Textiles/Lace", "bobbins", "pins", "linen", "patterns")]


def test_topics_that_share_half_their_keywords_are_one():
    first = topic("Arts/Music/Opera", "aria", "libretto", "soprano", "overture")
    near = topic("Culture/Theatre/Grand opera", "arias", "Libretto", "sopranos", "stage sets")
    far = topic("Culture/Theatre/Opera houses", "aria", "boxes", "stage sets", "acoustics")
    assert merge_duplicates([first, near, far], same_keywords=0.5, most_keywords=4) == [first, far]
    assert len(merge_duplicates([first, near, far], same_keywords=0.9)) == 3


def keys(*topics, **how):
    kept, mergers = merge(map(Found, topics), Merging(**how))
    return [one.topic.key for one in kept], mergers


LANGUAGES = "Computing/Programming Languages/"
CODE = ("compiler", "pointer", "syntax", "memory")


@pytest.mark.parametrize(
    "pair",
    [
        [topic(f"{LANGUAGES}C", *CODE), topic(f"{LANGUAGES}C++", *CODE)],
        [topic(f"{LANGUAGES}C", *CODE), topic("Software/Languages/C#", *CODE)],
        [topic("Ions/Na+", "ion", "salt", "charge"), topic("Ions/Na-", "ion", "salt", "charge")],
        [
            topic("History/World War I", "army", "front", "treaty"),
            topic("Wars/World War II", "army", "front", "treaty"),
        ],
        [
            topic("History/Ancient Rome/Daily Life/Food", "bread", "wine", "garum", "feast"),
            topic("History/Medieval Europe/Daily Life/Food", "bread", "wine", "ale", "feast"),
        ],
        [topic("Food/Bread", "flour", "oven", "crust"), topic("Food/Rye Bread", "flour", "rye")],
        [topic("Maths/Sets", "union"), topic("Maths/Sets/Open sets", "union", "topology")],
        [topic("Rivers/Pearl River"), topic("Rivers/Pearl Rivers")],
        [
            topic("Computing/Java", "class", "code", "bean"),
            topic("Islands/Java", "rice", "volcano"),
        ],
        [topic("Money/Bank"), topic("Land/River/Bank")],
        [topic("Computing/NET"), topic("Computing/.NET")],
        [topic("Computing/C"), topic("Computing/C--")],
        [topic("Computing/nix"), topic("Computing/*nix")],
        [topic("Web/MeToo"), topic("Web/#MeToo"), topic("Web/@MeToo"), topic("Web/+MeToo")],
        [topic("Money/Canada/C"), topic("Money/Canada/C$"), topic("Money/Canada/$C")],
        [topic("Music/Keys/C"), topic("Music/Keys/C\u266f"), topic("Music/Keys/C\u266d")],
        [topic("Numbers/1"), topic("Numbers/\u22121")],
    ],
)
def test_what_differs_in_earnest_is_not_merged(pair):
    assert keys(*pair) == ([one.key for one in pair], [])
    assert keys(*pair[::-1]) == ([one.key for one in pair[::-1]], [])


@pytest.mark.parametrize(
    ("pair", "by"),
    [
        (["Society/Anarchism/Proudhon", "Thought/Politics/Pierre-Joseph Proudhon"], "short name"),
        (["Health/World Health Organization", "Bodies/WHO"], "short name"),
        (["Physics/Ions/Na+", "Chemistry/Matter/Na\u207a"], "keywords"),
        (["Cooking/Crème_brûlée", "cooking/creme brulee"], "path in normal form"),
        (["Algebra/Groups/Lie Groups", "Geometry/Lie Group"], "keywords"),
    ],
)
def test_one_subject_under_two_names_or_in_two_places_is_one(pair, by):
    one, other = (topic(path, "mutualism", "property", "federation") for path in pair)
    assert [merger.by for merger in keys(one, other)[1]] == [by]


def test_upper_levels_of_a_closed_list_are_no_more_than_a_place():
    opera = [
        topic("Arts/Music/Opera", "aria", "stage", "libretto"),
        topic("Arts/Theatre/Opera", "aria", "curtain", "costume"),
        topic("Technology/Software/Opera", "browser", "tab", "engine"),
    ]
    assert len(keys(*opera)[0]) == 3
    assert keys(*opera, upper=2)[0] == [opera[0].key, opera[2].key]


def test_what_goes_into_what_is_told_and_sources_are_kept():
    lace = topic("Crafts/Lace", "bobbins", "pins")
    pages = [Found(lace, ("a",)), Found(topic("crafts/lace", "linen"), ("b", "c"))]
    [kept], [merger] = merge(pages)
    assert kept == Found(topic("Crafts/Lace", "bobbins", "pins", "linen"), ("a", "b", "c"))
    assert merger == ("crafts/lace", "Crafts/Lace", "path in normal form", 1.0)


def test_a_sentence_model_finds_other_names_and_its_threshold_counts(monkeypatch):
    class Model:
        def __init__(self, name):
            assert name == "some/model"

        def encode(self, texts, **_):
            return [[1.0, "infarction" in t or "attack" in t, "tea" in t] for t in texts]

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Model
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    found = [
        topic("Medicine/Heart attack", "chest", "pain", "artery"),
        topic("Health/Myocardial infarction", "troponin", "ischaemia", "necrosis"),
        topic("Food/Tea", "leaf", "water", "cup"),
    ]
    assert len(keys(*found)[0]) == 3
    kept, [merger] = keys(*found, embedding="some/model", same_meaning=0.9)
    assert kept == [found[0].key, found[2].key] and merger.by == "meaning"
    assert len(keys(*found, embedding="some/model", same_meaning=1.1)[0]) == 3


def test_no_chains_and_planted_duplicates_are_found():
    """Near-copies of installed seeds, in other places, with other keywords and spellings."""
    random = Random(0)
    seeds = list(read_topics(find("configs/topics/seeds.jsonl")))
    planted = []
    for seed in random.sample(seeds, 200):
        words = random.sample(seed.keywords, min(len(seed.keywords), 4))
        name = random.choice([str.lower, str.upper, lambda name: f"The {name}"])(seed.path[-1])
        planted.append((seed.key, Topic((*seed.path[2:-1], name), tuple(words))))
    kept, mergers = merge(map(Found, [*seeds, *(copy for _, copy in planted)]))
    went = {merger.topic: merger.into for merger in mergers}
    names = {one.topic.key for one in kept}
    assert not names & went.keys() and set(went.values()) <= names
    right = sum(went.get(copy.key) == key for key, copy in planted)
    assert right >= 0.95 * len(planted) and len(went) - right <= 0.02 * len(planted)


def test_equal_pages_make_one_topic_and_empty_pages_none(tmp_path):
    pages = tmp_path / "pages.jsonl"
    texts = [RIVETS, "", LIONS, RIVETS.upper().capitalize(), "Two words."]
    pages.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    with open_session(LLMConfig(), None) as session:
        counts = make_topics(
            files.Corpus(pages), tmp_path / "topics.jsonl", TopicsConfig(), session
        )
    topics = read_topics(tmp_path / "topics.jsonl")
    assert [t.path[-1] for t in topics] == ["Riveting", "Lion"]
    branches = {one.path[:2] for one in read_topics(find("configs/topics/seeds.jsonl"))}
    assert topics[0].path[:2] in branches and "plates" in topics[0].keywords
    assert topics[1].path[0] == "Life Sciences" and "prides" in topics[1].keywords
    assert (counts["pages"], counts["failed"], counts["found"], counts["topics"]) == (4, 0, 3, 2)


class Reader(OfflineBackend):
    """Answers about pages as it is told, and counts what it is asked."""

    name = "reader"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    async def complete(self, call):
        self.asked.append(call.messages)
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        found = [{"path": path.split("/"), "keywords": ["one", "two"]} for path in reply]
        return Answer(json.dumps({"topics": found}), Usage(1, 0, 1), "stop")


def read_by(backend, tmp_path, texts, **settings):
    pages = tmp_path / "pages.jsonl"
    rows = [{"id": f"p{n}", "text": text} for n, text in enumerate(texts)]
    pages.write_text("\n".join(map(json.dumps, rows)))
    settings = TopicsConfig(same_meaning=2, **settings)
    with Session(LLMConfig(concurrency=1), backend, FREE, tmp_path / "answers.sqlite") as session:
        counts = make_topics(files.Corpus(pages), tmp_path / "topics.jsonl", settings, session)
    rows = [json.loads(line) for line in (tmp_path / "topics.jsonl").read_text().splitlines()]
    return counts, ["/".join(row["path"]) for row in rows], [row["sources"] for row in rows]


def test_a_long_page_is_read_whole_and_each_topic_has_its_source(tmp_path):
    long = "\n\n".join(f"Paragraph {n} of the page. " + "word " * 60 for n in range(40))
    backend = Reader(["Life Sciences/Zoology/Lion"])
    counts, paths, sources = read_by(backend, tmp_path, [long, "A short page about lions."])
    shown = " ".join(asked[0]["content"] for asked in backend.asked)
    assert all(f"Paragraph {n} of" in shown for n in range(40))
    assert counts["parts"] == len(backend.asked) > counts["pages"] == 2
    assert (paths, sources) == (["Life Sciences/Zoology/Lion"], [["p0", "p1"]])


def test_a_page_gives_as_many_topics_as_it_teaches(tmp_path):
    many = [
        f"Natural Sciences/Physics/Effect of {name}"
        for name in ["Hall", "Kerr", "Seebeck", "Zeeman"]
    ]
    for replies, number in ([many], 4), ([[], many[:1]], 1):
        (where := tmp_path / str(number)).mkdir()
        assert len(read_by(Reader(*replies), where, ["A page.", "Another page."])[1]) == number


def test_a_place_outside_the_branches_is_asked_again_and_then_put_right(tmp_path):
    backend = Reader(["Biology/Animals/Lion"], ["life sciences/zoology/Lion"])
    counts, paths, _ = read_by(backend, tmp_path, ["A page about lions."])
    assert paths == ["Life Sciences/Zoology/Lion"] and counts["moved"] == 0
    assert "none of the branches" in backend.asked[1][-1]["content"]

    (again := tmp_path / "again").mkdir()
    backend = Reader(["Zoology/Cats/Lion", "Nothing/Like it/Ghost"])
    counts, paths, _ = read_by(backend, again, ["A page about lions."])
    assert paths == ["Life Sciences/Zoology/Lion"]
    assert (counts["moved"], counts["lost"], counts["failed"]) == (1, 1, 0)


def test_a_subject_that_two_parts_put_in_two_places_has_one(tmp_path):
    backend = Reader(["Arts/Music/Opera"], ["Arts/Theatre/Opera"])
    tree = tmp_path / "tree.txt"
    tree.write_text("Arts > Music > Song\nArts > Theatre > Stage\n")
    text = "Opera is sung on a stage. " * 20
    counts, paths, _ = read_by(backend, tmp_path, [text], tree=tree, part_characters=300)
    assert counts["parts"] > 1 and paths == ["Arts/Music/Opera"]


def test_pages_of_a_real_encyclopedia_become_topics_that_texts_can_be_written_on(
    shared_data, tmp_path
):
    source = shared_data / "text" / "wikipedia_boolq_passages.jsonl.gz"
    pages = files.Corpus(source, _text_column(source))
    few = tmp_path / "pages.jsonl"
    few.write_text("\n".join(json.dumps({"text": page.text}) for page in pages.take(range(200))))
    with open_session(LLMConfig(), tmp_path / "answers.sqlite") as session:
        pages = files.Corpus(few)
        assert plan_topics(pages, TopicsConfig(), session).calls <= 200
        counts = make_topics(pages, tmp_path / "topics.jsonl", TopicsConfig(), session)
        topics = read_topics(tmp_path / "topics.jsonl")
        assert 100 < len(topics) == counts["topics"] <= counts["found"]
        assert len({t.path[0] for t in topics}) >= 5
        config = GenerateConfig(topics=10, generations=1)
        made = generate(tmp_path / "topics.jsonl", tmp_path / "corpus", config, session)
    assert made["documents"] == 10


def _text_column(path):
    from synthdiv.corpora.formats import numbered_rows

    return max(next(numbered_rows(path))[1].items(), key=lambda item: len(str(item[1])))[0]


def test_a_stopped_run_writes_no_topics_and_goes_on(tmp_path):
    pages = tmp_path / "pages.jsonl"
    pages.write_text("\n".join(json.dumps({"text": text}) for text in (RIVETS, LIONS)))
    output, store = tmp_path / "topics.jsonl", tmp_path / "answers.sqlite"
    with open_session(LLMConfig(max_calls=1), store) as session, pytest.raises(Paused):
        make_topics(files.Corpus(pages), output, TopicsConfig(), session)
    assert not output.exists()
    with open_session(LLMConfig(), store) as session:
        counts = make_topics(files.Corpus(pages), output, TopicsConfig(), session)
    assert counts["usage"]["calls"]["cached"] == 1 and counts["topics"] == 2


def test_pages_without_topics_are_an_error(tmp_path):
    pages = tmp_path / "pages.jsonl"
    pages.write_text('{"text": "a b"}\n')
    with (
        open_session(LLMConfig(), None) as session,
        pytest.raises(UserError, match="no topic found in 1 pages"),
    ):
        make_topics(files.Corpus(pages), tmp_path / "topics.jsonl", TopicsConfig(), session)
    assert not (tmp_path / "topics.jsonl").exists()


@pytest.mark.parametrize("settings", [{"part_characters": 0}, {"same_keywords": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match="Topics."):
        TopicsConfig(**settings)
