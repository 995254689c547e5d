"""What the plan varies: angles, shapes, openings, personas."""

import itertools
import json
from collections import Counter

import pytest

from synthdiv.config import find
from synthdiv.errors import UserError
from synthdiv.generation import Family, ShapeConfig, read_personas
from synthdiv.generation.angles import Angles, read_angles
from synthdiv.generation.chance import Chance
from synthdiv.generation.openings import Openings
from synthdiv.generation.personas import Composed, personas_sha256
from synthdiv.generation.shape import Shapes


@pytest.mark.parametrize("sizes", [(4, 6, 3), (5, 7), (6, 6, 6), (2, 4, 8), (1, 9), (3,)])
def test_no_angle_comes_twice_before_all_were_had(sizes):
    lists = {f"list {n}": [f"{n}-{i}" for i in range(size)] for n, size in enumerate(sizes)}
    angles = Angles(lists, list(lists))
    for key in ("one topic", "another"):
        had = [tuple(angles.of(key, n).values()) for n in range(len(angles))]
        assert len(set(had)) == len(angles)
        assert tuple(angles.of(key, len(angles)).values()) == had[0]
        for place, size in enumerate(sizes):  # nor does a list come round before its end
            assert len({angle[place] for angle in had[:size]}) == size


def test_topics_go_through_angles_in_orders_of_their_own():
    angles = Family("topic").angles
    first = {tuple(angles.of(f"topic {n}", 0, "abc").values()) for n in range(50)}
    steps = {
        tuple(angles.of(f"topic {n}", g, "abc")["question"] for g in range(3)) for n in range(50)
    }
    assert len(first) == 50 and len(steps) > 40


def test_the_focus_is_a_keyword_of_the_topic_and_goes_through_all():
    angles = Family("topic").angles
    words = ["iron", "salt", "water"]
    assert {angles.of("rust", n, words)["focus"] for n in range(3)} == set(words)
    assert "focus" not in angles.of("rust", 0, [])


def test_a_topic_has_more_angles_than_a_corpus_has_texts_on_it():
    for family in ("topic", "topic_styles", "topic_styles_persona", "instruct"):
        assert len(Family(family).angles) > 300


@pytest.mark.parametrize("text", ['["a"]', '{"a": []}', '{"a": ["b", "b"]}', '{"focus": ["a"]}'])
def test_a_faulty_list_of_angles_is_refused(tmp_path, text):
    (tmp_path / "angles.json").write_text(text)
    with pytest.raises(UserError, match=r"angles.json"):
        read_angles(tmp_path / "angles.json")


def test_shapes_come_in_the_shares_that_were_asked_for():
    config = ShapeConfig(questions={0: 3, 2: 1}, kinds={"open": 1}, titles={"yes": 1, "no": 0})
    chance = Chance("0")
    drawn = [Shapes(config).draw(chance) for _ in range(2000)]
    asked = Counter(shape.questions for shape in drawn)
    assert set(asked) == {0, 2} and 430 < asked[2] < 570
    assert all(shape.titled and not shape.choices for shape in drawn)
    assert not any(shape.explained or shape.options_shown for shape in drawn if not shape.questions)
    other = Shapes(ShapeConfig(questions={2: 1, 0: 3}, kinds={"open": 1}, titles={"yes": 1}))
    assert other.draw(Chance("5")).questions == Shapes(config).draw(Chance("5")).questions


@pytest.mark.parametrize(
    ("shares", "fault"),
    [
        ({"passages": {0: 1}}, "Shape.passages has 0 where a number"),
        ({"questions": {-1: 1}}, "Shape.questions has -1"),
        ({"kinds": {"opne": 1}}, "Shape.kinds has 'opne', .*; did you mean 'open'"),
        ({"titles": {"yes": 0}}, "Shape.titles leaves nothing to draw"),
        ({"markup": {"plain": "much"}}, "the share of 'plain' is 'much'"),
        ({"words": 300}, "Shape.words is {value: share}"),
    ],
)
def test_shares_that_make_no_shape_are_refused(shares, fault):
    with pytest.raises(UserError, match=fault):
        ShapeConfig(**shares)


def test_installed_personas_are_many_facts_and_no_two_alike():
    personas = read_personas(find("configs/topics/personas.json"))
    assert len(personas) > 2000
    some = [personas[n] for n in range(0, len(personas), 97)] + [personas[-1]]
    assert len(set(some)) == len(some) > 2000
    assert all(one.startswith(("a ", "an ")) and ", who " in one for one in some)
    with pytest.raises(IndexError):
        personas[len(personas)]


def test_personas_are_composed_of_tables(tmp_path):
    groups = [
        {"sentence": "{who} of {where}", "tables": {"who": ["a", "b"], "where": ["x", "y", "z"]}},
        {"sentence": "{who}", "tables": {"who": ["c"]}},
    ]
    (tmp_path / "p.json").write_text(json.dumps(groups))
    found = read_personas(tmp_path / "p.json")
    pairs = itertools.product("xyz", "ab")
    assert list(found) == [f"{who} of {where}" for where, who in pairs] + ["c"]
    assert personas_sha256(found) != personas_sha256(Composed([("{who}", {"who": ["c"]})]))


@pytest.mark.parametrize(
    ("group", "fault"),
    [
        ({"sentence": "{a}"}, "a 'sentence' and of 'tables'"),
        ({"sentence": "{a}", "tables": {"b": ["x"]}}, "must name each of b once"),
        ({"sentence": "{a}", "tables": {"a": ["x", "x"]}}, "table 'a' is no list of texts"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, group, fault):
    (tmp_path / "p.json").write_text(json.dumps([group]))
    with pytest.raises(UserError, match=f"p.json, group 1: .*{fault}"):
        read_personas(tmp_path / "p.json")


def test_openings_are_counted_and_stock_ones_told():
    texts = [
        "Imagine a world.",
        "A Title\n\nImagine a world of rust.",
        "Iron rusts.",
        "At its core.",
    ]
    openings = Openings([*texts, "# Rust\n\nIron rusts fast."])
    assert openings.found(["Imagine", "At its core", "Once upon a time"]) == {
        "texts": 5,
        "distinct": 4 / 5,
        "stock": 3,
        "commonest": [["imagine a world", 2], ["at its core", 1], ["iron rusts", 1]]
        + [["iron rusts fast", 1]],
    }
