"""Scores continuations: the log probability of each token, in a few fixed shapes.

Sequences are packed into rows (see packing.py), rows into batches of one shape per row length, so a
whole suite compiles a handful of programs, shared by all checkpoints of the same configuration.
Logits exist only for places that predict a token of a continuation, one chunk at a time. Batches
are cut over all devices along B; each process gets all answers.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from synthdiv.evaluation.packing import Continuation, Row, pack
from synthdiv.evaluation.processes import put
from synthdiv.model import decode
from synthdiv.model.block import head_table
from synthdiv.model.config import ModelConfig

_CHUNK_LOGITS = 1 << 24  # numbers in one chunk of logits


class Scored(NamedTuple):
    """The natural log probability of each token, float32 [n]; greedy: each was the likeliest."""

    log_probabilities: np.ndarray
    greedy: bool


@functools.partial(jax.jit, static_argnames="config")
def _hidden(params, config: ModelConfig, tokens_BT, positions_BT, ends_BT):
    """The last layer's output (B, T, D); a place sees itself and its ancestors."""
    place_T = jnp.arange(tokens_BT.shape[1])
    visible_BTS = (place_T[None, :] <= place_T[:, None]) & (
        place_T[None, :, None] < ends_BT[:, None, :]
    )
    return decode.read(params, config, tokens_BT, positions_BT, visible_BTS)


@functools.partial(jax.jit, static_argnames="everywhere")
def _predict(params, x_BTD, places_C, targets_C, everywhere: NamedSharding):
    """Log probability of each target, and whether no token is likelier, at places of x, flat."""
    x_CD = x_BTD.reshape(-1, x_BTD.shape[-1])[places_C]
    head_VD = head_table(params)
    logits_CV = jnp.einsum("CD,VD->CV", x_CD, head_VD, preferred_element_type=jnp.float32)
    target_C = jnp.take_along_axis(logits_CV, targets_C[:, None], axis=-1)[:, 0]
    highest_C = jnp.max(logits_CV, axis=-1)
    # Not argmax, which on a CPU takes as long as the product itself.
    likeliest_C = target_C == highest_C
    total_C = jnp.sum(jnp.exp(logits_CV - highest_C[:, None]), axis=-1)
    log_probability_C = target_C - highest_C - jnp.log(total_C)
    return jax.lax.with_sharding_constraint((log_probability_C, likeliest_C), everywhere)


class Model:
    """Parameters on all devices, ready for use.

    Args:
        params: nested dict of arrays, float32.
        config: the model's; `dtype` is that of the computation.
        batch_tokens: positions in one batch, over all devices.
        max_length: the longest sequence to read; None: the model's context.
    """

    def __init__(
        self, params: dict, config: ModelConfig, batch_tokens: int, max_length: int | None = None
    ) -> None:
        self.config = config
        self.max_length = min(max_length or config.max_length, config.max_length)
        self.batch_tokens = batch_tokens
        self.mesh = Mesh(np.asarray(jax.devices()), ("B",))
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        self.params = jax.tree.map(
            lambda array: put(array, self.everywhere), decode.cast(params, config.dtype)
        )
        self._rows = NamedSharding(self.mesh, PartitionSpec("B"))

    def row_lengths(self) -> list[int]:
        """The lengths that rows may have: doubling from 256, up to the context."""
        lengths = [256]
        while lengths[-1] < self.max_length:
            lengths.append(2 * lengths[-1])
        return [*(n for n in lengths if n < self.max_length), self.max_length]

    def rows_a_batch(self, length: int, rows: int) -> int:
        """B: what fits `batch_tokens`, at most the power of two that holds `rows`."""
        devices = self.mesh.size
        full = max(1, self.batch_tokens // length)
        needed = 1 << max(0, rows - 1).bit_length()
        return -(-min(full, needed) // devices) * devices

    def exact(self) -> contextlib.AbstractContextManager:
        """Keeps float32 products exact, which accelerators would round otherwise."""
        full = self.config.dtype == "float32" and jax.default_backend() != "cpu"
        return jax.default_matmul_precision("highest") if full else contextlib.nullcontext()

    def place(self, *arrays: np.ndarray) -> list[jax.Array]:
        """Puts arrays whose first dimension is B on the devices, cut along it."""
        return [put(array, self._rows) for array in arrays]


def score(
    model: Model,
    continuations: Sequence[Continuation],
    done: Callable[[int], bool] = lambda index: False,
) -> Iterator[list[tuple[int, Scored]]]:
    """Scores continuations, a batch at a time.

    Args:
        model: to score with.
        continuations: each at most `model.max_length` inputs long.
        done: says which indices need no answer; a batch of those alone is not run. Batches do not
            depend on it, so an interrupted run that resumes gives the very same numbers.

    Yields:
        For each batch, (index into `continuations`, its scores) of all that are in it.
    """
    waiting: tuple[list[Row], list] | None = None
    for length, rows in pack(continuations, model.row_lengths()).items():
        size = model.rows_a_batch(length, len(rows))
        for first in range(0, len(rows), size):
            batch = rows[first : first + size]
            if all(done(owner) for row in batch for owner in row.owners):
                continue
            # The device computes this batch while the host collects the one before.
            with model.exact():
                dispatched = _dispatch(model, batch, size, length, continuations)
            if waiting is not None:
                yield _collect(*waiting, continuations)
            waiting = batch, dispatched
    if waiting is not None:
        yield _collect(*waiting, continuations)


def _dispatch(
    model: Model, batch: list[Row], size: int, length: int, continuations: Sequence[Continuation]
) -> list[tuple[jax.Array, jax.Array]]:
    tokens, positions, ends = (np.zeros((size, length), np.int32) for _ in range(3))
    for index, row in enumerate(batch):
        tokens[index, : len(row)] = row.tokens
        positions[index, : len(row)] = row.positions
        ends[index, : len(row)] = row.ends
    places = np.concatenate(
        [index * length + p for index, row in enumerate(batch) for p in row.scored]
    )
    targets = np.concatenate([continuations[o].targets for row in batch for o in row.owners])
    x_BTD = _hidden(model.params, model.config, *model.place(tokens, positions, ends))
    fit = max(64, min(1024, _CHUNK_LOGITS // model.config.vocab_size))
    chunk = 1 << (fit.bit_length() - 1)
    padded = np.zeros((2, -(-len(places) // chunk) * chunk), np.int32)
    padded[0, : len(places)] = places
    padded[1, : len(targets)] = targets
    return [
        _predict(model.params, x_BTD, *padded[:, i : i + chunk], model.everywhere)
        for i in range(0, padded.shape[1], chunk)
    ]


def _collect(
    batch: list[Row],
    dispatched: list[tuple[jax.Array, jax.Array]],
    continuations: Sequence[Continuation],
) -> list[tuple[int, Scored]]:
    fetched = jax.device_get(dispatched)
    log_probabilities = np.concatenate([f[0] for f in fetched])
    likeliest = np.concatenate([f[1] for f in fetched])
    scored, at = [], 0
    for row in batch:
        for owner in row.owners:
            end = at + len(continuations[owner].targets)
            scored.append((owner, Scored(log_probabilities[at:end], bool(likeliest[at:end].all()))))
            at = end
    return scored
