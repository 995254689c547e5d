"""Reply schemas: what a reply may be, what is refused, and the training text made of it."""

import json

import pytest
from pydantic import ValidationError

from synthdiv.errors import UserError
from synthdiv.generation import Family
from synthdiv.generation.plan import shuffle_options
from synthdiv.generation.replies import example, read_replies
from synthdiv.generation.shape import Shape
from synthdiv.llm.structured import is_strict, wire_schema

FAMILY = Family("topic")
PLAIN = Shape(3, 300, 1, 0, False, True, False, False, "plain")


def lesson(shape=PLAIN, **question):
    asked = {
        "question": "Which metal?",
        "options": ["tin", "iron", "zinc", "lead"],
        "answer": 2,
        "explanation": "It rusts, so it is iron.",
    } | question
    reply = {"title": "Rust", "choice_questions": [asked] * shape.choices}
    reply["passages"] = [
        {"text": f"Passage {n}.", "concepts": ["rust"]} for n in range(shape.passages)
    ]
    reply["open_questions"] = [
        {"question": "Why?", "answer": "It rusts.", "explanation": "Rust is an oxide of iron."}
    ] * shape.questions
    return reply


def text(shape):
    reply = FAMILY.replies.of(shape.counts()).model_validate(lesson(shape))
    return FAMILY.text(reply.model_dump(), shape)


PASSAGES = "Passage 0.\n\nPassage 1.\n\nPassage 2."


def test_the_papers_text_is_passages_then_question_answer_explanation():
    assert text(PLAIN) == (
        f"{PASSAGES}\n\nQuestion: Which metal?\nAnswer: iron\nExplanation: It rusts, so it is iron."
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(3, 300, 0, 0, False, False, True, True, "plain"), f"# Rust\n\n{PASSAGES}"),
        (Shape(3, 300, 0, 0, False, False, True, False, "plain"), f"Rust\n\n{PASSAGES}"),
        (
            Shape(3, 300, 1, 0, True, False, False, False, "plain"),
            f"{PASSAGES}\n\nQuestion: Which metal?\nA. tin\nB. iron\nC. zinc\nD. lead\n"
            "Answer: B. iron",
        ),
        (
            Shape(3, 300, 0, 2, False, True, False, True, "plain"),
            PASSAGES + "\n\n**Question:** Why?\n**Answer:** It rusts.\n"
            "**Explanation:** Rust is an oxide of iron." * 2,
        ),
    ],
)
def test_the_text_has_the_shape_that_was_drawn(shape, expected):
    assert text(shape) == expected


def test_options_are_shuffled_and_the_answer_goes_with_them():
    from random import Random

    places = set()
    for seed in range(20):
        reply = lesson()
        shuffle_options(reply, Random(seed))
        (asked,) = reply["choice_questions"]
        assert asked["options"][asked["answer"] - 1] == "iron"
        assert sorted(asked["options"]) == ["iron", "lead", "tin", "zinc"]
        places.add(asked["answer"])
    assert places == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"answer": 5}, "less than or equal to 4"),
        ({"answer": "iron"}, "valid integer"),
        ({"options": ["tin", "iron", "zinc"]}, "at least 4 items"),
        ({"options": ["tin", "iron", "zinc", "lead", "gold"]}, "at most 4 items"),
        ({"options": ["tin", "iron", "Tin", "lead"]}, "two of them are the same"),
        ({"explanation": "  "}, "at least 1 character"),
    ],
)
def test_faulty_questions_are_refused(fault, words):
    with pytest.raises(ValidationError, match=words):
        FAMILY.replies.of(PLAIN.counts()).model_validate(lesson(**fault))


@pytest.mark.parametrize("number", [2, 4])
def test_there_are_as_many_passages_as_were_asked_for(number):
    reply = lesson()
    reply["passages"] = (reply["passages"] * 2)[:number]
    with pytest.raises(ValidationError, match="passages"):
        FAMILY.replies.of(PLAIN.counts()).model_validate(reply)


def test_a_passage_teaches_something():
    reply = lesson()
    reply["passages"][1]["concepts"] = []
    with pytest.raises(ValidationError, match="concepts"):
        FAMILY.replies.of(PLAIN.counts()).model_validate(reply)


def test_an_audience_is_one_of_the_people_shown():
    replies = Family("topic_styles_persona").replies
    three = replies.of(PLAIN.counts(personas=3))
    assert three.model_validate(lesson() | {"audience": 3}).audience == 3
    with pytest.raises(ValidationError, match="audience"):
        three.model_validate(lesson() | {"audience": 4})
    assert "audience" not in replies.of(PLAIN.counts()).model_fields


def test_a_shape_has_one_class_and_servers_are_told_it_strictly():
    one, same = (FAMILY.replies.of(PLAIN.counts()) for _ in range(2))
    assert one is same is not FAMILY.replies.of(PLAIN.counts(personas=2))
    retold = Family("rephrase").replies
    assert retold.of(PLAIN.counts()) is retold.of(PLAIN.counts(personas=2)), "it has no audience"
    wire = wire_schema(one)
    assert wire["title"] == "Lesson" and is_strict(wire)
    assert wire["properties"]["passages"]["minItems"] == 3
    assert wire["properties"]["passages"]["maxItems"] == 3
    assert wire["required"] == ["passages", "choice_questions"]


def test_the_example_says_what_the_class_checks():
    shape = Shape(2, 300, 1, 0, True, True, True, False, "plain")
    assert example(FAMILY.replies.of(shape.counts(personas=5))) == (
        '{"audience": <number of the person, 1 to 5>, "title": "...",'
        ' "passages": [{"text": "...", "concepts": ["...", ...]}, ...],'
        ' "choice_questions": [{"question": "...", "options": ["...", "...", "...", "..."],'
        ' "answer": <number of the right option, 1 to 4>, "explanation": "..."}]}'
    )


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "object"}, "an object needs 'properties'"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "'a', 'items': 'type' must"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "minlength": 1}}},
            "strings have no 'minlength' here; did you mean 'minLength'",
        ),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused(tmp_path, schema, fault):
    (tmp_path / "reply.json").write_text(json.dumps(schema))
    with pytest.raises(UserError, match=fault):
        read_replies(tmp_path / "reply.json")
