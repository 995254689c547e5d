"""Which documents the judge sees, and how: random draws, one pass over the corpus, safe lengths.

All draws come from the seed alone, round by round, so that a run with more rounds asks the same
questions first and finds their answers stored.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from synthdiv.baselines.lengths import match_lengths
from synthdiv.errors import UserError
from synthdiv.files import Corpus
from synthdiv.json_lines import encodable
from synthdiv.llm import fence

# Streams of random numbers.
_SUBSET, _ROUNDS, _CRITERIA, _CONTROL, _ORDER, _AGAIN, _COVERAGE = range(7)

# A control character says nothing, and some servers refuse it; tab and line feed are text.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_WORD = re.compile(r"\S+\s*")
_QUANTILES = 513  # by which the lengths of corpora are matched
_CHARACTERS_PER_WORD = 24  # a "word" without end (base64, a gene) is cut too


@dataclasses.dataclass(frozen=True)
class Shown:
    """A document as the judge sees it.

    Attributes:
        id: the document's own id.
        text: its text, cut and cleaned.
        provenance: its other columns.
        words: words of `text`.
        cut: whether the document was longer.
        cleaned: whether control characters or half surrogate pairs were replaced.
    """

    id: str
    text: str
    provenance: Mapping[str, Any]
    words: int
    cut: bool
    cleaned: bool


def show(text: str, words: int) -> tuple[str, int, bool, bool]:
    """Cuts a text to `words` words and replaces what is no text.

    Returns:
        the text, its number of words, whether it was cut, whether it was cleaned.
    """
    limit = words * _CHARACTERS_PER_WORD
    head = text[: limit + 1]
    count, end = 0, 0
    for found in _WORD.finditer(head):
        count += 1
        end = found.end()
        if count == words:
            break
    cut = len(text) > limit or bool(text[end:].strip())
    kept = head[: min(end, limit)].strip() if cut else text.strip()
    safe = _CONTROL_CHARACTERS.sub("\ufffd", kept.replace("\r\n", "\n").replace("\r", "\n"))
    safe = safe.encode("utf-8", "replace").decode("utf-8")
    return safe, count, cut, "\ufffd" in safe and "\ufffd" not in kept


def fenced_documents(documents: Sequence[Shown]) -> str:
    """Documents as prompts show them; those that were cut say so."""
    cut = ["yes" if document.cut else None for document in documents]
    return fence("document", [document.text for document in documents], cut=cut)


def _generator(seed: int, stream: int, *place: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, *place])


class Draws:
    """The random draws of one scoring run over a corpus of `documents` documents.

    Args:
        documents: how many the corpus has.
        sample: how many of them may be drawn at all.
        seed: of everything.
        name: of the corpus, for messages.
        among: the only documents that may be drawn, in order; all by default.

    Raises:
        UserError: the corpus is smaller than one round.
    """

    def __init__(
        self,
        documents: int,
        sample: int,
        seed: int,
        per_round: int,
        name: str = "the corpus",
        among: np.ndarray | None = None,
    ) -> None:
        if among is not None:
            documents = len(among)
        if documents < 2:
            raise UserError(f"{name} has {documents} documents; a score takes two or more")
        if documents < per_round:
            raise UserError(
                f"{name} has {documents} documents and a round takes {per_round}: "
                f"`Score.documents_per_round={documents}` or fewer"
            )
        self.seed = seed
        self.per_round = per_round
        self.size = min(documents, sample)
        self._subset = among
        if self.size < documents:
            chosen = np.sort(_generator(seed, _SUBSET).choice(documents, self.size, replace=False))
            self._subset = chosen if among is None else among[chosen]

    def _draw(self, size: int, *stream: int) -> np.ndarray:
        """Indices of `size` different documents, `[size]`."""
        size = min(size, self.size)
        drawn = _generator(self.seed, *stream).choice(self.size, size, replace=False)
        return drawn if self._subset is None else self._subset[drawn]

    def round(self, number: int) -> np.ndarray:
        """Documents of clustering round `number`, `[K]`."""
        return self._draw(self.per_round, _ROUNDS, number)

    def criteria(self, number: int, size: int) -> np.ndarray:
        """Documents of criteria proposal `number`, `[J]`."""
        return self._draw(size, _CRITERIA, number)

    def unseen(self, number: int, size: int) -> np.ndarray:
        """Documents that show whether codebook `number` covers the corpus, `[size]`."""
        return self._draw(size, _COVERAGE, number)

    def controls(self, count: int) -> list[np.ndarray]:
        """Documents of the lexical judge's own first `count` rounds, `[K]` each."""
        return [self._draw(self.per_round, _CONTROL, number) for number in range(count)]

    def order(self, number: int) -> np.ndarray:
        """Another order of the documents of round `number`: a permutation, `[K]`."""
        return _generator(self.seed, _ORDER, number).permutation(self.per_round)

    def chosen(self, fraction: float, rounds: int, purpose: int) -> list[int]:
        """A share of the rounds, drawn at random: their numbers, in order."""
        if fraction <= 0:
            return []
        generator = _generator(self.seed, _AGAIN, purpose)
        return sorted(np.flatnonzero(generator.random(rounds) < fraction).tolist())


def read_documents(
    corpus: Corpus, indices: Iterable[int], words: int, limits: Mapping[int, int] | None = None
) -> dict[int, Shown]:
    """Reads the documents at `indices` in one pass, each cut as soon as it is read.

    Args:
        corpus: where they are.
        indices: which; repetitions are read once.
        words: longest text.
        limits: shorter longest text for some of them.
    """
    wanted = np.unique(np.fromiter(indices, dtype=np.int64))
    found: dict[int, Shown] = {}
    if not len(wanted):
        return found
    place, wanted_list = 0, wanted.tolist()
    for index, document in enumerate(corpus):
        if index != wanted_list[place]:
            continue
        limit = words if limits is None else limits.get(index, words)
        text, count, cut, cleaned = show(document.text, limit)
        provenance = encodable(dict(document.provenance))
        found[index] = Shown(encodable(document.id), text, provenance, count, cut, cleaned)
        place += 1
        if place == len(wanted_list):
            break
    return found


def matched_limits(lengths: Sequence[Mapping[int, int]]) -> list[dict[int, int]]:
    """Word limits that give several corpora the same distribution of lengths.

    A document at rank u of its corpus's lengths is cut to the least of all corpora's lengths at
    rank u, so that every corpus shows the judge the same lengths and no document is left out.

    Args:
        lengths: for each corpus, words of the documents that will be shown, by index.

    Returns:
        for each corpus, the most words of each document, by index.
    """
    limits = match_lengths([np.array(list(one.values())) for one in lengths], _QUANTILES)
    found = zip(lengths, limits, strict=True)
    return [dict(zip(one, most.tolist(), strict=True)) for one, most in found]
