"""From the findings of all chunks to what is done with each document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from synthdiv.curation.config import CHECKS, FilterConfig
from synthdiv.curation.duplicates import Twins, find_twins
from synthdiv.curation.examine import findings_path, read_faults, shingles_path
from synthdiv.curation.phrases import Fault

KEPT = -1
CONTAMINATED = ("contaminated", "contaminated_fuzzy")
_ORDER = list(CHECKS)


@dataclass
class Decisions:
    """What is done with each document of a corpus.

    Attributes:
        reasons: int8 [documents], the place in CHECKS of the reason why it is dropped, or KEPT.
        twins: which earlier documents are repeated.
        found: documents with each fault, also those that are dropped for another.
        items: contaminated documents by task or file.
        words: int64 [documents].
    """

    reasons: np.ndarray
    twins: Twins
    found: Counter[str]
    items: Counter[str]
    words: np.ndarray
    _directory: Path
    _edges: np.ndarray

    def faults(self, document: int) -> list[Fault]:
        """What was found wrong with a document by itself; asked for in rising order."""
        chunk = int(np.searchsorted(self._edges, document, side="right")) - 1
        return _faults_of(self._directory, chunk).get(document - int(self._edges[chunk]), [])

    def drop(self, document: int, check: str) -> None:
        """Drops a document for a reason that was found later."""
        self.reasons[document] = _ORDER.index(check)

    def reason(self, document: int) -> str | None:
        """Why a document is dropped; None where it stays."""
        place = int(self.reasons[document])
        return None if place == KEPT else _ORDER[place]

    @property
    def dropped(self) -> dict[str, int]:
        """Documents dropped for each reason, in the order of CHECKS."""
        counts = np.bincount(self.reasons[self.reasons != KEPT], minlength=len(_ORDER)).tolist()
        return {name: count for name, count in zip(_ORDER, counts, strict=True) if count}


@lru_cache(maxsize=2)
def _faults_of(directory: Path, chunk: int) -> dict[int, list[Fault]]:
    with np.load(findings_path(directory, chunk)) as findings:
        return read_faults(findings["faults"])


def decide(directory: Path, chunks: int, config: FilterConfig) -> Decisions:
    """Decides on every document of a corpus whose chunks are all examined."""
    lengths = []
    words = [np.empty(0, np.int64)]
    for chunk in range(chunks):
        with np.load(findings_path(directory, chunk)) as findings:
            words.append(findings["words"])
            lengths.append(len(words[-1]))
    edges = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    count = int(edges[-1])
    reasons = np.full(count, KEPT, np.int8)
    found, items = Counter[str](), Counter[str]()
    near = config.wants("near_duplicate")
    digests = np.zeros((count, 2), np.uint64) if config.wants("duplicate") else None
    signatures = np.zeros((count, config.permutations), np.uint16) if near else None
    for chunk in range(chunks):
        span = slice(int(edges[chunk]), int(edges[chunk + 1]))
        with np.load(findings_path(directory, chunk)) as findings:
            if digests is not None:
                digests[span] = findings["digests"]
            if signatures is not None:
                signatures[span] = findings["signatures"]
            for place, faults in read_faults(findings["faults"]).items():
                found.update({fault.check for fault in faults})
                items.update({f.item.partition(",")[0] for f in faults if f.check in CONTAMINATED})
                if reason := config.reason(fault.check for fault in faults):
                    reasons[span.start + place] = _ORDER.index(reason)
    shingles = _Shingles(directory, edges)
    twins = find_twins(
        digests,
        signatures,
        (reasons == KEPT) & (np.concatenate(words) > 0),
        shingles,
        config.near_threshold,
    )
    if "near_duplicate" in config.drop:
        twins.pass_on()
    repeats = twins.of >= 0
    same = np.zeros(count, bool)
    if digests is not None:
        same[repeats] = (digests[repeats] == digests[twins.of[repeats]]).all(axis=1)
    for check, which in (("duplicate", same), ("near_duplicate", repeats & ~same)):
        if which.any():
            found[check] = int(which.sum())
            if check in config.drop:
                reasons[which] = _ORDER.index(check)
    return Decisions(reasons, twins, found, items, np.concatenate(words), directory, edges)


class _Shingles:
    """The shingles of documents, read from the files of chunks as they are needed."""

    def __init__(self, directory: Path, edges: np.ndarray) -> None:
        self._directory, self._edges = directory, edges
        self._open = lru_cache(maxsize=256)(self._opened)

    def _opened(self, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        with np.load(findings_path(self._directory, chunk)) as findings:
            edges = findings["edges"]
        return np.load(shingles_path(self._directory, chunk), mmap_mode="r"), edges

    def __call__(self, document: int) -> np.ndarray:
        chunk = int(np.searchsorted(self._edges, document, side="right")) - 1
        shingles, edges = self._open(chunk)
        place = document - int(self._edges[chunk])
        return shingles[edges[place] : edges[place + 1]]


def evidence(
    decisions: Decisions, document: int, reason: str, twin: str | None
) -> Iterator[tuple[str, object]]:
    """Yields the fields that tell of a dropped document: reason, evidence, and what else."""
    faults = decisions.faults(document)
    yield "reason", reason
    own = next((fault for fault in faults if fault.check == reason), None)
    if own is not None:
        yield "evidence", own.evidence
        if own.item:
            yield "item", own.item
    elif twin is not None:
        yield "evidence", f"{float(decisions.twins.similarity[document]):.3f} alike"
        yield "earlier", twin
        yield "earlier_index", int(decisions.twins.of[document])
    if also := [fault.check for fault in faults if fault.check != reason]:
        yield "also", also
