"""Topic seeds out of pages: de-duplication, the offline reader, real pages."""

import json

import pytest

from synthdiv import files
from synthdiv.errors import Paused, UserError
from synthdiv.generation import (
    GenerateConfig,
    Topic,
    TopicsConfig,
    generate,
    make_topics,
    merge_duplicates,
    plan_topics,
    read_topics,
)
from synthdiv.llm import LLMConfig, open_session

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


def test_merging_finds_what_comparing_all_pairs_finds():
    import itertools
    from random import Random

    random = Random(1)
    words = [f"word{n}x" for n in range(14)]
    topics = [topic(f"Field/Part {n}/Leaf {n}", *random.sample(words, 6)) for n in range(150)]
    kept = merge_duplicates(topics, same_keywords=0.5)
    overlap = lambda a, b: len(set(a) & set(b)) / len(set(a) | set(b))  # noqa: E731
    original = {t.path: t.keywords for t in topics}
    kept_words = [original[t.path] for t in kept]
    assert all(overlap(a, b) < 0.5 for a, b in itertools.combinations(kept_words, 2))
    paths = {t.path for t in kept}
    assert 1 < len(kept) < len(topics)
    for position, dropped in enumerate(topics):
        if dropped.path not in paths:
            earlier = [t for t in topics[:position] if t.path in paths]
            assert any(overlap(dropped.keywords, t.keywords) >= 0.5 for t in earlier)


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
    assert topics[0].path[0] == "Technology and Industry" and "plates" in topics[0].keywords
    assert topics[1].path[0] == "Natural Sciences" and "prides" in topics[1].keywords
    assert (counts["pages"], counts["failed"], counts["found"], counts["topics"]) == (4, 0, 3, 2)


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


@pytest.mark.parametrize("settings", [{"most_per_page": 0}, {"same_keywords": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match="Topics."):
        TopicsConfig(**settings)
