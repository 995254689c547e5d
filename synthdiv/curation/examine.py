"""What one chunk of documents shows by itself: its faults, and what duplicates are found by.

A chunk's findings go into two files, the second of which says that both are whole, so a run that
was killed goes on after the chunks that are there. Whoever examines hands them to the process that
writes them, since it may be on another machine.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthdiv.baselines.near_duplicates import NearDuplicates
from synthdiv.baselines.words import Batch, batches, distinct_sorted, hash_batch
from synthdiv.curation.config import FilterConfig
from synthdiv.curation.language import other_language
from synthdiv.curation.normal import normal_form
from synthdiv.curation.overlap import Found, Overlap
from synthdiv.curation.phrases import Fault, Phrases, breaks_off
from synthdiv.engine import Engine, crew
from synthdiv.files import atomic_path
from synthdiv.progress import Progress

_HERE = 2  # chunks that are examined in this process before others are started
_LEAST_RUNS = 16  # 5-word runs in a text before it can be said to repeat itself
_REPEATED = 5


class Findings(NamedTuple):
    """What a chunk shows.

    Attributes:
        chunk: its number.
        arrays: what `decisions.decide` reads.
        shingles: of its documents, one after the other; None where they are not looked for.
    """

    chunk: int
    arrays: dict[str, Any]
    shingles: np.ndarray | None

    def write(self, directory: Path) -> int:
        """Keeps them, whole or not at all; returns how many documents they are of."""
        if self.shingles is not None:
            with atomic_path(shingles_path(directory, self.chunk)) as path, path.open("wb") as file:
                np.save(file, self.shingles)
        with atomic_path(findings_path(directory, self.chunk)) as path, path.open("wb") as file:
            np.savez(file, **self.arrays)
        return len(self.arrays["words"])


@dataclass(frozen=True)
class Examiner:
    """Looks at documents; every worker has one.

    Attributes:
        config: what to look for.
        languages: that documents may be in; () looks for no other.
        tasks: what must not be in them.
        prompts: words of prompts.
        phrases: that show a fault.
    """

    config: FilterConfig
    languages: tuple[str, ...]
    tasks: Overlap | None
    prompts: Overlap | None
    phrases: Phrases

    def __call__(self, chunk: tuple[int, list[str]]) -> Findings:
        """Examines a chunk.

        Args:
            chunk: its number, and at most as many texts as `baselines.words.batches` gives at once.
        """
        number, texts = chunk
        normal = [normal_form(text) for text in texts]
        batch = hash_batch(0, normal)
        faults: dict[int, list[Fault]] = {}
        for place, text in enumerate(texts):
            if own := self._faults(text, int(batch.lengths[place])):
                faults[place] = own
        for check, found, overlap in self._overlaps(batch, normal):
            for place, one in found.items():
                item = overlap.items[one.item]
                share = "" if one.share == 1 else f"{one.share:.2f} of it: "
                fault = Fault(check, share + one.words, f"{item.source}, {item.place}")
                faults.setdefault(place, []).append(fault)
        shingles, edges = distinct_shingles(batch, self.config.shingle)
        if self.config.wants("repetition"):
            for place, evidence in self._repeating(batch, shingles, edges).items():
                faults.setdefault(place, []).append(Fault("repetition", evidence))
        wanted = self.config.wants
        arrays: dict[str, Any] = {"words": batch.lengths}
        if wanted("duplicate"):
            arrays["digests"] = np.frombuffer(
                b"".join(
                    hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                    for text in normal
                ),
                np.uint64,
            ).reshape(-1, 2)
        if wanted("near_duplicate"):
            near = NearDuplicates(self.config.shingle, self.config.permutations)
            signatures = np.zeros((len(texts), near.permutations), np.uint16)
            signatures[batch.lengths > 0] = near.prepare(batch)
            arrays |= {"signatures": signatures, "edges": edges}
        said = json.dumps(faults, ensure_ascii=False).encode("utf-8", "surrogatepass")
        arrays["faults"] = np.frombuffer(said, np.uint8)
        return Findings(number, arrays, shingles if wanted("near_duplicate") else None)

    def _faults(self, text: str, words: int) -> list[Fault]:
        config = self.config
        if words < config.least_words:
            return [Fault("short", f"{words} words")] if config.wants("short") else []
        found = [fault for fault in self.phrases.faults(text) if config.wants(fault.check)]
        if self.languages and (
            other := other_language(text, self.languages, config.language_confidence)
        ):
            found.append(Fault("language", other))
        if config.wants("truncated") and (end := breaks_off(text)):
            found.append(Fault("truncated", end))
        return found

    def _overlaps(
        self, batch: Batch, normal: Sequence[str]
    ) -> list[tuple[str, dict[int, Found], Overlap]]:
        found = []
        if self.prompts is not None:
            found.append(("leaked_prompt", self.prompts.exact(batch, normal), self.prompts))
        if self.tasks is not None:
            exact = self.tasks.exact(batch, normal)
            found.append(("contaminated", exact, self.tasks))
            fuzzy = self.tasks.fuzzy(batch, normal)
            fuzzy = {place: one for place, one in fuzzy.items() if place not in exact}
            found.append(("contaminated_fuzzy", fuzzy, self.tasks))
        return [one for one in found if self.config.wants(one[0])]

    def _repeating(self, batch: Batch, shingles: np.ndarray, edges: np.ndarray) -> dict[int, str]:
        if self.config.shingle != _REPEATED:
            shingles, edges = distinct_shingles(batch, _REPEATED)
        runs = np.maximum(batch.lengths - (_REPEATED - 1), 1)
        repeated = 1 - np.diff(edges) / runs
        places = np.flatnonzero((repeated > self.config.most_repeated) & (runs >= _LEAST_RUNS))
        return {
            int(p): f"{repeated[p]:.0%} of its {_REPEATED}-word runs came before" for p in places
        }


def examine_chunks(
    examiner: Examiner,
    texts: Iterable[str],
    directory: Path,
    progress: Progress,
    workers: int | None,
    engine: Engine,
) -> int:
    """Examines the chunks of a corpus that are not examined yet; returns how many there are.

    Args:
        examiner: what looks at them.
        texts: of all documents; read as they are needed, so that memory stays flat.
        directory: of the chunks' findings.
        progress: told of documents.
        workers: processes; 0 for none, None for one a core where there are several chunks.
        engine: where they work.
    """
    count = 0

    def missing() -> Iterator[tuple[int, list[str]]]:
        nonlocal count
        for _, held in batches(texts):
            if findings_path(directory, count).exists():
                progress.update(len(held))
            else:
                yield count, held
            count += 1

    with crew(examiner, engine, workers, here=0 if workers else _HERE) as examiners:
        for findings in examiners.map(missing()):
            progress.update(findings.write(directory))
    return count


def distinct_shingles(batch: Batch, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns each document's distinct n-grams, and where each document's begin.

    A document of fewer words is one shingle. Hashes are cut to 32 bits: in two documents of 10,000
    shingles that have nothing in common, 0.02 would be taken for the same.

    Returns:
        uint32, sorted within each document; int64 [documents + 1].
    """
    hashes = (batch.ngrams(order) >> np.uint64(32)).astype(np.uint64)
    owners = batch.documents_of(order).astype(np.uint64)
    short = np.flatnonzero((batch.lengths > 0) & (batch.lengths < order))
    starts = np.cumsum(batch.lengths) - batch.lengths
    wholes = [
        np.uint64(zlib.crc32(batch.words[s : s + n].tobytes()))
        for s, n in zip(starts[short].tolist(), batch.lengths[short].tolist(), strict=True)
    ]
    keys = np.concatenate(
        (
            owners << np.uint64(32) | hashes,
            short.astype(np.uint64) << np.uint64(32) | np.array(wholes, np.uint64),
        )
    )
    keys = distinct_sorted(keys)
    edges = np.searchsorted(
        keys >> np.uint64(32), np.arange(len(batch.lengths) + 1, dtype=np.uint64)
    )
    return keys.astype(np.uint32), edges


def findings_path(directory: Path, number: int) -> Path:
    """The file that says what was found in a chunk."""
    return directory / f"chunk-{number:06d}.npz"


def shingles_path(directory: Path, number: int) -> Path:
    """The file of a chunk's shingles."""
    return directory / f"chunk-{number:06d}.shingles.npy"


def read_faults(said: np.ndarray) -> dict[int, list[Fault]]:
    """The faults of a chunk, as its findings hold them."""
    content = json.loads(said.tobytes().decode("utf-8", "surrogatepass"))
    return {int(place): [Fault(*fault) for fault in own] for place, own in content.items()}
