"""A judge of quality: how much a document teaches, and whether it says what its source says.

The marks go into the documents, so that a corpus's diversity and its quality can be told apart. The
judge sees a text alone, or beside its source, and nothing of where it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from synthdiv.corpora import Corpus, Document
from synthdiv.curation.config import FilterConfig
from synthdiv.diversity.documents import show
from synthdiv.generation.sources import Sources
from synthdiv.llm import Request, Sampling, Stage, fence, in_steps
from synthdiv.prompts import Templates

if TYPE_CHECKING:
    from synthdiv.llm import Session

QUALITY, FACTUALITY = "quality", "factuality"
_CHARACTERS = 8  # of a source are shown for every word of `judge_words`
_EXAMPLES = 20  # documents by which a plan tells the size of all

Mark = Literal[1, 2, 3, 4, 5]


class EducationalValue(BaseModel):
    """How much a document teaches."""

    reason: str = Field(description="One sentence.")
    educational_value: Mark


class Factuality(BaseModel):
    """Whether a document says what its source says."""

    not_in_the_source: list[str]
    reason: str = Field(description="One sentence.")
    factuality: Mark


@dataclass
class Marks:
    """The judge's marks of each document of a corpus, NaN where there is none.

    Attributes:
        quality, factuality: float32 [documents].
        reasons: the judge's words about documents below a bound, by number.
        failed: replies that were of no use.
    """

    quality: np.ndarray
    factuality: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)
    failed: int = 0

    def columns(self, number: int) -> dict[str, float | None]:
        """A document's marks, as columns."""
        names = (QUALITY, FACTUALITY) if not np.isnan(self.factuality).all() else (QUALITY,)
        marks = {name: float(getattr(self, name)[number]) for name in names}
        return {name: None if mark != mark else mark for name, mark in marks.items()}


class Judge:
    """Asks a language model for the marks of documents.

    Args:
        session: who answers.
        config: prompts, and how much of a document is shown.
        sources: what texts were written from; a document names its source in the column `source`.

    Raises:
        UserError: the prompts are missing.
    """

    def __init__(
        self, session: Session, config: FilterConfig, sources: Corpus | None = None
    ) -> None:
        self.session, self._config, self._corpus = session, config, sources
        self._templates = Templates(config.judge_prompts)
        self._templates.get(QUALITY)
        self._templates.get(FACTUALITY)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the marks."""
        return {
            "backend": self.session.backend,
            "model": self.session.model,
            "sources": self._corpus.bytes_sha256 if self._corpus else None,
        }

    @cached_property
    def _sources(self) -> tuple[Sources, dict[str, int]]:
        """The sources, and their numbers by id."""
        assert self._corpus is not None
        sources = Sources(self._corpus, 2**62)
        filled = (document.id for document in self._corpus if document.text.strip())
        return sources, {name: number for number, name in enumerate(filled)}

    def mark(self, corpus: Corpus, kept: np.ndarray) -> Marks:
        """Marks the documents of a corpus that are kept.

        Args:
            corpus: the documents.
            kept: bool [documents].

        Raises:
            Paused: a cap was reached, or a batch is to be answered; the same call goes on.
        """
        unknown = np.full(len(kept), np.nan, np.float32)
        marks = Marks(unknown, unknown.copy())
        numbers = np.flatnonzero(kept)
        steps = {"educational value": [QUALITY]}
        if self._corpus is not None:
            steps["factuality"] = [FACTUALITY]
        with in_steps(steps):
            documents = (d for d, keep in zip(corpus, kept, strict=True) if keep)
            asked = (self._quality(document) for document in documents)
            self._ask(asked, numbers, marks.quality, marks, self._config.least_quality)
            if self._corpus is not None:
                places = self._sources[1]
                told = np.array([_source(document) in places for document in corpus]) & kept
                compared = self._with_sources(corpus, told)
                least = self._config.least_factuality
                self._ask(compared, np.flatnonzero(told), marks.factuality, marks, least)
        return marks

    def plan(self, corpus: Corpus, documents: int) -> Any:
        """What marking so many documents would take: calls, tokens and money."""
        few = [document for document, _ in zip(corpus, range(_EXAMPLES), strict=False)]
        return self.session.plan({QUALITY: Stage([self._quality(d) for d in few], documents)})

    def _ask(
        self,
        requests: Iterator[Request[Any]],
        numbers: Sequence[int] | np.ndarray,
        into: np.ndarray,
        marks: Marks,
        least: float,
    ) -> None:
        label = "judging"
        asking = self.session.map(self.session.ask, requests, label, len(numbers), "documents")
        for index, reply in asking:
            value, number = reply.value, int(numbers[index])
            if reply.failure is not None or value is None:
                marks.failed += 1
                continue
            mark = value.educational_value if into is marks.quality else value.factuality
            into[number] = mark
            if mark < least:
                marks.reasons[number] = f"{mark} of 5: {value.reason}"

    def _quality(self, document: Document) -> Request[EducationalValue]:
        own = self._fenced("document", document.text)
        return self._request(EducationalValue, QUALITY, document=own)

    def _with_sources(self, corpus: Corpus, told: np.ndarray) -> Iterator[Request[Factuality]]:
        sources, places = self._sources
        for document, tells in zip(corpus, told, strict=True):
            if tells:
                start = int(document.provenance.get("source_start") or 0)
                text = sources.part(places[_source(document)], 0).text[start:]
                source = self._fenced("source", text[: _CHARACTERS * self._config.judge_words])
                own = self._fenced("document", document.text)
                yield self._request(Factuality, FACTUALITY, source=source, document=own)

    def _fenced(self, kind: str, text: str) -> str:
        return fence(kind, [show(text, self._config.judge_words)[0]])

    def _request(self, schema: type[Any], stage: str, **values: str) -> Request[Any]:
        prompt = self._templates.render(stage, **values)
        sampling = Sampling(temperature=0.0, max_tokens=400, seed=0)
        return Request(({"role": "user", "content": prompt},), schema, sampling, stage)


def _source(document: Document) -> str:
    """The id of what a document was made from."""
    return str(document.provenance.get("source") or "")
