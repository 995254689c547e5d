"""What a corpus's manifest says of its texts: who wrote them, and about how many tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

TOKENS_PER_WORD = 4 / 3  # a rule of thumb for English and vocabularies of 30,000 and more
METHOD = "words x 4/3"


class Writer(NamedTuple):
    """A language model, how it was asked, and which share of a corpus's texts it wrote."""

    model: str
    backend: str
    share: float


def estimated_tokens(words: float) -> int:
    """Tokens of English texts, estimated from their words."""
    return round(words * TOKENS_PER_WORD)


def generated(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest of how texts were generated: the corpus's own, or that of what it is from.

    {} where no language model is known to have written them.
    """
    while manifest and not writers_of(manifest):
        before = manifest.get("input")
        manifest = (before.get("manifest") if isinstance(before, Mapping) else None) or {}
    return manifest


def writers_of(manifest: Mapping[str, Any]) -> list[Writer]:
    """The language models that wrote the texts of a corpus, as its own manifest says.

    One that was made otherwise may say so in words: then nobody wrote it.
    """
    generator = manifest.get("generator")
    if not isinstance(generator, Mapping):
        return []
    return [
        Writer(str(one.get("model")), str(one.get("backend")), float(one.get("share", 1)))
        for one in generator.get("writers") or [generator]
    ]
