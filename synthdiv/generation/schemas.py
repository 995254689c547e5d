"""The JSON that the generation prompts ask for, and the training text that it becomes.

Section 3.2 of arXiv 2410.15226: three to five passages of increasing nuance, each with the concepts
it teaches, and one multiple-choice question with a step-by-step explanation.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, field_validator, model_validator

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Passage(BaseModel):
    """A few sentences, and what a reader learns from them."""

    text: Words
    concepts: list[Words] = Field(min_length=1)


class Question(BaseModel):
    """One question with four options, of which exactly one is right."""

    question: Words
    options: list[Words] = Field(min_length=4, max_length=4)
    answer: Words = Field(description="the right option, word for word")
    explanation: Words = Field(description="how to get to the answer, step by step")

    @field_validator("options")
    @classmethod
    def _different(cls, options: list[str]) -> list[str]:
        if len({option.casefold() for option in options}) < len(options):
            raise ValueError("two options are the same")
        return options

    @model_validator(mode="after")
    def _answer_is_an_option(self) -> Question:
        for option in self.options:
            if option.casefold() == self.answer.casefold():
                self.answer = option
                return self
        raise ValueError("the answer is not, word for word, one of the options")


class Lesson(BaseModel):
    """A reply to the Topic and Topic Styles prompts."""

    passages: list[Passage] = Field(min_length=3, max_length=5)
    question: Question


class AddressedLesson(BaseModel):
    """A reply to the prompts with personas, which also tells which of them it is written for."""

    audience: int = Field(ge=1, description="number of the persona that the text is written for")
    passages: list[Passage] = Field(min_length=3, max_length=5)
    question: Question


AnyLesson = Lesson | AddressedLesson


class ExtractedTopic(BaseModel):
    """A topic that a page teaches: its path from the broadest field down, and its keywords."""

    path: list[Words] = Field(min_length=2, max_length=5)
    keywords: list[Words] = Field(min_length=1, max_length=12)


class TopicList(BaseModel):
    """A reply to the prompt for the topics of a page; an empty list where it teaches none."""

    topics: list[ExtractedTopic]


def training_text(lesson: AnyLesson) -> str:
    """What a model is trained on: the passages, then question, answer and explanation."""
    passages = "\n\n".join(passage.text for passage in lesson.passages)
    question = lesson.question
    return (
        f"{passages}\n\nQuestion: {question.question}\nAnswer: {question.answer}\n"
        f"Explanation: {question.explanation}"
    )
