"""Mixtures of tokenized sources: which sequence comes when, from seed and position alone.

Sequence i of a mixture is computed from i: which source (sources interleave evenly, in proportion
to their effective tokens), which pass over it, and where in that pass's shuffled order. So the
position in the data is one number, seeking is free, and the order depends on neither processes,
workers nor interruptions. Grain shuffles by index, prefetches and runs the threads.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from synthdiv.corpora.names import tell_apart
from synthdiv.data.packing import Sequences
from synthdiv.data.token_source import TokenSource
from synthdiv.errors import UserError, closest
from synthdiv.storage import fetch

_ENDLESS = 1 << 48  # batches; Grain wants a length


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """What a model is trained on. Gin name `Mixture`.

    Attributes:
        sources: (directory of tokens, effective tokens) of each. Effective tokens are what one pass
            of the mixture takes from a source: 5e9 from a source of 1e9 tokens is five epochs of
            it (the paper's up-weighting); None is one epoch.
        names: what logs call the sources; None for their directories' names.
    """

    sources: tuple[tuple[str, float | None], ...] = ()
    names: tuple[str, ...] | None = None


class Source(Protocol):
    """Sequences by number."""

    sequence_length: int

    @property
    def content(self) -> str: ...

    @property
    def tokens(self) -> int: ...

    @property
    def max_segments(self) -> int: ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> Sequences: ...


class Order:
    """The order of a mixture's sequences.

    Args:
        sizes: sequences of each source.
        draws: sequences that one pass of the mixture takes of each source.
        seed: of all shuffles.
    """

    def __init__(self, sizes: Sequence[int], draws: Sequence[int], seed: int) -> None:
        from grain.experimental import index_shuffle

        self.sizes, self.draws, self.seed = tuple(sizes), tuple(draws), seed
        self.total = sum(draws)  # sequences in one pass of the mixture
        if max(self.total, *sizes) >= 1 << 31:
            raise UserError("a mixture is of fewer than 2^31 sequences: take longer ones")
        self._shuffle = index_shuffle

    def counts(self, positions: np.ndarray) -> np.ndarray:
        """Returns how many of the first `positions` [n] sequences are of each source: [sources, n].

        Each source gets its share, rounded up, of what the sources before it have left over. The
        counts are exact after every whole pass and less than one sequence off in between.
        """
        passes, left = np.divmod(np.asarray(positions, np.int64), self.total)
        remaining, counts = self.total, []
        for draws in self.draws:
            taken = -(-left * draws // remaining)
            counts.append(passes * draws + taken)
            left, remaining = left - taken, remaining - draws
        return np.stack(counts)

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (source [n], number of the sequence in it [n]) for `positions` [n]."""
        before, after = self.counts(positions), self.counts(positions + 1)
        sources = np.argmax(after - before, axis=0)
        ranks = np.take_along_axis(before, sources[None], axis=0)[0]
        numbers = [
            self._number(source, *divmod(rank, self.sizes[source]))
            for source, rank in zip(sources.tolist(), ranks.tolist(), strict=True)
        ]
        return sources, np.array(numbers)

    def _number(self, source: int, epoch: int, index: int) -> int:
        seed = _epoch_seed(self.seed, source, epoch)
        return self._shuffle(index, max_index=self.sizes[source] - 1, seed=seed, rounds=4)


@functools.lru_cache(maxsize=1024)
def _epoch_seed(seed: int, source: int, epoch: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{source}/{epoch}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


class _LocalBatches:
    """Batch b of this process; what Grain reads from."""

    def __init__(
        self,
        sources: Sequence[Source],
        order: Order,
        first: int,
        step: int,
        rows: int,
        end: int,
    ) -> None:
        self._sources, self._order, self._end = sources, order, end
        self._first, self._step, self._rows = first, step, np.arange(rows)

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        positions = self._first + index * self._step + self._rows
        which, numbers = self._order.locate(positions)
        parts, rows = [], []
        for source in np.unique(which):
            rows.append(np.flatnonzero(which == source))
            parts.append(self._sources[source].read(numbers[rows[-1]]))
        sequences = Sequences.concatenate(parts)[np.argsort(np.concatenate(rows))]
        batch = sequences.batch(which)
        batch["loss_mask"][positions >= self._end] = 0
        return batch


class Batches(Iterator[dict[str, np.ndarray]]):
    """An endless stream of batches, with a position that can be saved and restored.

    The global batch at a position is the same for any `process_count`: process p has its p-th
    contiguous part of the rows. Made by `batches` and `sft_batches`.

    Attributes:
        batch_size: of the global batch, in sequences.
        sequence_length: L.
        source_names: of `batch["source"]`.
        total_sequences: in one pass of the mixture.
        passes: of the mixture that count: later sequences have no loss. 0: all.
        tokenizer_sha256, tokenizer_dir, vocab_size, eot_id: of the tokenizer that made the tokens.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str],
        draws: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        tokenizer: Mapping[str, Any],
        process_index: int = 0,
        process_count: int = 1,
        workers: int = 1,
        identity: str = "",
        passes: int = 0,
    ) -> None:
        if batch_size < 1 or batch_size % process_count:
            raise UserError(
                f"a batch of {batch_size} sequences does not divide among {process_count} processes"
            )
        self.batch_size = batch_size
        self.passes = passes
        self.sequence_length = sources[0].sequence_length
        self.source_names = tuple(names)
        self.vocab_size: int = tokenizer["vocab_size"]
        self.eot_id: int = tokenizer["eot_id"]
        self.tokenizer_sha256: str = tokenizer["tokenizer_sha256"]
        self.tokenizer_dir: Path = Path(tokenizer["tokenizer_dir"])
        self._sources = list(sources)
        self._order = Order([len(s) for s in sources], draws, seed)
        self._rows = batch_size // process_count
        self._offset = process_index * self._rows
        self._workers = workers
        words = json.dumps([self._order.sizes, self._order.draws, seed, identity])
        self._identity = hashlib.sha256(words.encode()).hexdigest()[:16]
        self._position = 0  # sequences handed out so far, over all processes
        self._iterator: Any = None

    @property
    def total_sequences(self) -> int:
        return self._order.total

    @property
    def _end(self) -> int:
        """The position from which on sequences do not count."""
        return self.passes * self.total_sequences or _ENDLESS * self.batch_size

    @property
    def max_segments(self) -> int:
        """The most segments that any sequence has; 0 if some source does not say."""
        known = [s.max_segments for s in self._sources]
        return max(known) if all(known) else 0

    @property
    def steps(self) -> int:
        """Batches in `passes` (or one), the last one filled with sequences of the next pass."""
        return -(-self.total_sequences * max(self.passes, 1) // self.batch_size)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._position += self.batch_size
        return batch

    def _start(self) -> Iterator[dict[str, np.ndarray]]:
        import grain

        source = _LocalBatches(
            self._sources,
            self._order,
            self._position + self._offset,
            self.batch_size,
            self._rows,
            self._end,
        )
        options = grain.ReadOptions(
            num_threads=self._workers, prefetch_buffer_size=max(4, 2 * self._workers)
        )
        return iter(grain.MapDataset.source(source).to_iter_dataset(options))

    def get_state(self) -> dict[str, Any]:
        """Returns the position: a small dict for JSON, of the same size at any position."""
        return {"sequences": self._position, "mixture": self._identity}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Moves to a position of `get_state`, at whatever batch size or process count it was taken.

        Raises:
            UserError: the position is of another mixture or seed.
        """
        if state["mixture"] != self._identity:
            raise UserError(
                "the position to resume from is of another data mixture (sources, effective "
                "tokens, sequence length or seed): resume with the same, or in a new `workdir`"
            )
        self._position = int(state["sequences"])
        self.close()

    def contributed(self, state: Mapping[str, Any] | None = None) -> dict[str, dict[str, float]]:
        """Returns the sequences, tokens and epochs of each source handed out so far.

        Or up to a position of `get_state`, where one is given.

        Tokens are sequences times the source's mean tokens a sequence, which is exact at whole
        epochs and otherwise off by less than one padded sequence per shard.
        """
        reached = self._position if state is None else int(state["sequences"])
        position = min(reached, self._end)
        return self._shares(self._order.counts(np.array([position]))[:, 0].tolist())

    def plan(self) -> dict[str, dict[str, float]]:
        """Returns what `passes` (or one) take from each source, as `contributed` does."""
        return self._shares([draws * max(self.passes, 1) for draws in self._order.draws])

    def _shares(self, counts: Sequence[int]) -> dict[str, dict[str, float]]:
        return {
            name: {
                "sequences": count,
                "tokens": round(count * source.tokens / len(source)),
                "epochs": count / len(source),
            }
            for name, source, count in zip(self.source_names, self._sources, counts, strict=True)
        }

    def contents(self) -> dict[str, dict[str, Any]]:
        """Returns, for each source, a digest of its text and how much one pass takes from it."""
        return {
            name: {"content": source.content, "sequences": draws}
            for name, source, draws in zip(
                self.source_names, self._sources, self._order.draws, strict=True
            )
        }

    def close(self) -> None:
        """Stops prefetching."""
        iterator, self._iterator = self._iterator, None
        if hasattr(iterator, "close"):
            iterator.close()


def batches(
    config: MixtureConfig,
    batch_size: int,
    *,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 1,
    passes: int = 0,
) -> Batches:
    """Opens a mixture.

    Args:
        config: the sources and how much of each.
        batch_size: sequences in the global batch.
        seed: of the order, which depends on nothing else but the sources.
        process_index, process_count: which part of each global batch is this process's.
        workers: threads that prepare batches ahead. One delivers tens of millions of tokens a
            second, more than the accelerators of a host consume.
        passes: of the mixture that count; 0: all.

    Raises:
        UserError: no sources; a source that is missing, incomplete, listed twice, or of another
            tokenizer or sequence length than the first; effective tokens that are not positive;
            a batch that does not divide evenly among the processes.
    """
    if not config.sources:
        raise UserError("Mixture.sources is empty: give it (directory of tokens, effective tokens)")
    entries = [_entry(entry) for entry in config.sources]
    opened = [_open(path) for path, _ in entries]
    for source in opened[1:]:
        _match(source, opened[0])
    draws = [
        _draws(source, effective) for source, (_, effective) in zip(opened, entries, strict=True)
    ]
    first = opened[0].manifest
    return Batches(
        opened,
        _names(config, opened),
        draws,
        batch_size,
        seed=seed,
        tokenizer={**first, "tokenizer_dir": opened[0].directory / "tokenizer"},
        process_index=process_index,
        process_count=process_count,
        workers=workers,
        passes=passes,
        identity=json.dumps([s.manifest["corpus_sha256"] for s in opened])
        + first["tokenizer_sha256"],
    )


def _entry(entry: Any) -> tuple[str, float | None]:
    if isinstance(entry, str | Path):
        return str(entry), None
    if not (isinstance(entry, Sequence) and len(entry) == 2):
        raise UserError(f"Mixture.sources: {entry!r} is not (directory, effective tokens)")
    return str(entry[0]), entry[1]


def _open(given: str) -> TokenSource:
    if not (path := fetch(given)).is_dir():
        near = map(str, path.parent.iterdir()) if path.parent.is_dir() else ()
        raise UserError(f"Mixture.sources: no tokens {given!r}{closest(given, near)}")
    return TokenSource(path)


def _match(source: TokenSource, first: TokenSource) -> None:
    for key in ("tokenizer_sha256", "sequence_length"):
        if source.manifest[key] != first.manifest[key]:
            what = key.removesuffix("_sha256").replace("_", " ")
            raise UserError(
                f"{str(source.directory)!r} and {str(first.directory)!r} were not made with the "
                f"same {what}: tokenize one of them again"
            )


def _draws(source: TokenSource, effective: float | None) -> int:
    if effective is None:
        return len(source)
    if isinstance(effective, bool) or not isinstance(effective, int | float) or effective <= 0:
        raise UserError(
            f"Mixture.sources: {str(source.directory)!r} has {effective!r} effective tokens"
        )
    return max(1, round(effective * len(source) / source.tokens))


def _names(config: MixtureConfig, sources: Sequence[TokenSource]) -> list[str]:
    if config.names is not None:
        if len(config.names) != len(sources) or len(set(config.names)) != len(sources):
            raise UserError(f"Mixture.names needs {len(sources)} different names")
        return list(config.names)
    directories = [source.directory.resolve() for source in sources]
    if len(set(directories)) != len(sources):
        raise UserError("Mixture.sources names a directory twice: give it once, with more tokens")
    return tell_apart(directories)
