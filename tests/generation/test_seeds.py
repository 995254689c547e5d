"""Topic seeds, personas and styles: the installed files, the readers' errors, the nested choice."""

import itertools
import json

import pytest

from synthdiv.config import find
from synthdiv.errors import UserError
from synthdiv.generation import choose_topics, merge_duplicates, read_personas, read_topics
from synthdiv.generation.seeds import read_styles


def test_installed_seeds_are_many_deep_and_different():
    topics = read_topics(find("configs/topics/seeds.jsonl"))
    assert len(topics) >= 500
    assert len({topic.path[-1].casefold() for topic in topics}) == len(topics)
    assert all(len(topic.path) == 5 and 4 <= len(topic.keywords) <= 8 for topic in topics)
    assert len({topic.path[0] for topic in topics}) >= 12
    assert len(merge_duplicates(topics)) == len(topics)


def test_installed_styles_are_the_papers_four():
    styles = read_styles(find("configs/prompts/generation/styles.jsonl"))
    assert list(styles) == ["textbook narrative", "textbook academic", "blog post", "wikihow"]


def test_choice_of_topics_is_nested_and_does_not_hang_on_file_order():
    topics = read_topics(find("configs/topics/seeds.jsonl"))
    few, many = choose_topics(topics, 16, seed=3), choose_topics(topics, 48, seed=3)
    assert many[:16] == few
    assert choose_topics(topics[::-1], 16, seed=3) == few
    assert choose_topics(topics, 16, seed=4) != few
    fields = {topic.path[0] for topic in many}
    assert len(fields) > 8, "a choice keeps to no corner of the file"


def test_asking_for_more_topics_than_there_are_is_refused():
    topics = read_topics(find("configs/topics/seeds.jsonl"))
    with pytest.raises(UserError, match=f"9999 topics wanted, and there are {len(topics)}"):
        choose_topics(topics, 9999, seed=0)


GOOD = {"path": ["Arts", "Music"], "keywords": ["song"]}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "is empty"),
        ([json.dumps(GOOD), "{oops"], " line 2 is not JSON"),
        (["[1]"], " element 1 is not a JSON object"),
        (['{"keywords": ["a"]}'], " line 1: a topic is"),
        (['{"path": [], "keywords": []}'], " line 1: a topic is"),
        (['{"path": ["a", 3], "keywords": []}'], " line 1: a topic is"),
        (['{"path": ["a/b"], "keywords": []}'], " line 1: a level of a path must not hold a slash"),
        ([json.dumps(GOOD), "", json.dumps(GOOD)], " line 3: topic 'Arts/Music' is there twice"),
    ],
)
def test_faulty_topic_files_are_refused_by_line(tmp_path, lines, fault):
    path = tmp_path / "topics.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as refusal:
        read_topics(path)
    assert fault in str(refusal.value) and "\n" not in str(refusal.value)


def test_missing_topics_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_topics(tmp_path / "none.jsonl")


def test_persona_without_text_is_refused(tmp_path):
    path = tmp_path / "personas.jsonl"
    path.write_text('{"persona": "a nurse"}\n{"role": "a judge"}\n')
    with pytest.raises(UserError, match="2: no text under 'persona'"):
        read_personas(path)


def test_choice_of_all_topics_is_an_order_of_all():
    topics = read_topics(find("configs/topics/seeds.jsonl"))
    everything = choose_topics(topics, len(topics), seed=0)
    assert sorted(t.key for t in everything) == sorted(t.key for t in topics)
    assert any(a.path[:4] != b.path[:4] for a, b in itertools.pairwise(everything))
