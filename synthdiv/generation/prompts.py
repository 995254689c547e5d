"""The prompt for the topics of a page; those of the families are in families.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthdiv.generation.sources import Source
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

    def page_topics(self, part: Source, branches: Sequence[Sequence[str]]) -> str:
        """The prompt for the topics that a part of a page teaches, each under a branch."""
        listed = "\n".join(" / ".join(branch) for branch in branches)
        return self._templates.render(
            PAGE_TOPICS, page=part.text, begins=part.begins, branches=listed
        )
