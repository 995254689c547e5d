"""The prompts of the four families, rendered from the Jinja files in configs/prompts/generation/.

What a writer is asked is configuration: the words are in the files, this module only hands them
topics, keywords, style and personas, each behind a fence that no text can forge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from synthdiv.generation.seeds import Style, Topic
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
        self.directory = self._templates.directory

    def lesson(
        self,
        family: str,
        topics: Sequence[Topic],
        style: Style | None = None,
        personas: Sequence[str] = (),
    ) -> str:
        """The prompt for one text of a family.

        Raises:
            UserError: the family's template is missing or has a fault.
        """
        return self._templates.render(
            family,
            topics=[topic.key for topic in topics],
            keywords=["; ".join(topic.keywords) for topic in topics],
            style=f"{style.name}: {style.instruction}" if style else "",
            personas=list(personas),
        )

    def page_topics(self, page: str, most: int) -> str:
        """The prompt for the topics, at most `most`, that a page teaches."""
        return self._templates.render(PAGE_TOPICS, page=page, most=most)

    @property
    def sha256(self) -> str:
        """A hash over every file of the directory."""
        digest = hashlib.sha256()
        for file in sorted(self.directory.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()
