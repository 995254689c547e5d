"""The prompt for the topics of a page; those of the families are in families.py."""

from __future__ import annotations

from pathlib import Path

from synthdiv.llm import fence
from synthdiv.prompts import Templates

PAGE_TOPICS = "page_topics"


class Prompts:
    """The templates of one directory.

    Args:
        directory: as given, or inside the installed configs.

    Raises:
        UserError: the directory is missing.
    """

    def __init__(self, directory: str | Path):
        self._templates = Templates(directory, trim=True, names={"fence": fence})

    def page_topics(self, page: str, most: int) -> str:
        """The prompt for the topics, at most `most`, that a page teaches."""
        return self._templates.render(PAGE_TOPICS, page=page, most=most)
