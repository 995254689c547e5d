"""The JSON that the prompt for the topics of a page asks for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class ExtractedTopic(BaseModel):
    """A topic that a page teaches: its path from the broadest field down, and its keywords."""

    path: list[Words] = Field(min_length=2, max_length=6)
    keywords: list[Words] = Field(min_length=1, max_length=12)


class TopicList(BaseModel):
    """A reply to the prompt for the topics of a page; an empty list where it teaches none."""

    topics: list[ExtractedTopic]
