"""The JSON that a writer has to give, what is refused, and the training text made of it."""

import pytest
from pydantic import ValidationError

from synthdiv.generation.schemas import Lesson, training_text


def lesson(**question):
    asked = {
        "question": "Which metal?",
        "options": ["tin", "iron", "zinc", "lead"],
        "answer": "iron",
        "explanation": "It rusts, so it is iron.",
    }
    passages = [{"text": f"Passage {n}.", "concepts": ["rust"]} for n in range(3)]
    return {"passages": passages, "question": asked | question}


def test_training_text_is_passages_then_question_answer_explanation():
    assert training_text(Lesson.model_validate(lesson())) == (
        "Passage 0.\n\nPassage 1.\n\nPassage 2.\n\n"
        "Question: Which metal?\nAnswer: iron\nExplanation: It rusts, so it is iron."
    )


def test_answer_is_taken_over_from_the_options():
    assert Lesson.model_validate(lesson(answer=" Iron")).question.answer == "iron"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"answer": "copper"}, "not, word for word, one of the options"),
        ({"options": ["tin", "iron", "zinc"]}, "at least 4 items"),
        ({"options": ["tin", "iron", "zinc", "lead", "gold"]}, "at most 4 items"),
        ({"options": ["tin", "iron", "Tin", "lead"]}, "two options are the same"),
        ({"explanation": "  "}, "at least 1 character"),
    ],
)
def test_faulty_questions_are_refused(fault, words):
    with pytest.raises(ValidationError, match=words):
        Lesson.model_validate(lesson(**fault))


@pytest.mark.parametrize("number", [2, 6])
def test_three_to_five_passages(number):
    reply = lesson()
    reply["passages"] = (reply["passages"] * 2)[:number]
    with pytest.raises(ValidationError, match="passages"):
        Lesson.model_validate(reply)


def test_a_passage_teaches_something():
    reply = lesson()
    reply["passages"][1]["concepts"] = []
    with pytest.raises(ValidationError, match="concepts"):
        Lesson.model_validate(reply)
