"""Loss on held-out tokens while a run trains, and which checkpoint did best on them.

The same sequences are read each time, whatever devices there are, and nothing of the run changes:
neither its weights nor the order of its data nor its random numbers.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from synthdiv.data import Batches, MixtureConfig, batches
from synthdiv.errors import UserError
from synthdiv.model.loss import cross_entropy
from synthdiv.model.weights import graph
from synthdiv.training.config import PretrainConfig
from synthdiv.training.mesh import in_force
from synthdiv.training.metrics import losses
from synthdiv.training.step import (
    Batch,
    StepConfig,
    batch_shardings,
    by_source,
    place,
    state_shardings,
)

_PREFIX = "validation/"  # of its figures
HELD_OUT = _PREFIX + "loss"  # in nats a token


@dataclasses.dataclass(frozen=True)
class Validation:
    """Held-out sequences that a run reads every so many steps.

    Attributes:
        data: one pass of them; a last batch that is not full has no loss where it is filled.
        every: steps between two readings; the last step is always followed by one.
    """

    data: Batches
    every: int

    def check(self, training: Batches) -> None:
        """Refuses sequences that the run's compiled step would not take, or that it trains on.

        Raises:
            UserError: another tokenizer or sequence length, or the same tokens.
        """
        for name in ("tokenizer_sha256", "sequence_length"):
            if getattr(self.data, name) != getattr(training, name):
                what = name.removesuffix("_sha256").replace("_", " ")
                raise UserError(
                    f"Pretrain.validation was not made with the {what} of the mixture: tokenize "
                    "one of them again"
                )
        trained = {source["content"] for source in training.contents().values()}
        for name, source in self.data.contents().items():
            if source["content"] in trained:
                raise UserError(f"Pretrain.validation has {name!r}, which the mixture trains on")

    def due(self, step: int, steps: int) -> bool:
        """Says whether the sequences are read after `step` of `steps` updates."""
        return step % self.every == 0 or step == steps

    def figures(self, config: StepConfig, mesh: Mesh, params: Any) -> dict[str, Any]:
        """Returns mean loss (of each source, too) and bits per byte, named for the metrics."""
        data = self.data
        reading = dataclasses.replace(
            config, sources=len(data.source_names), max_segments=data.max_segments
        )
        read = compiled_reading(reading, mesh)
        data.set_state(data.get_state() | {"sequences": 0})
        found = [read(params, place(next(data), mesh)) for _ in range(data.steps)]
        data.close()
        figures = losses(jax.device_get(found), data.source_names)
        return {_PREFIX + name: value for name, value in figures.items()}


def held_out(config: PretrainConfig) -> Validation | None:
    """Opens the held-out tokens of a run, in batches as large as a micro-batch of training.

    Raises:
        UserError: they cannot be read.
    """
    if not config.validation:
        return None
    try:
        data = batches(
            MixtureConfig(config.validation),
            config.batch_size // config.accumulate,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=config.workers,
            passes=1,
        )
    except UserError as error:  # which names what a mixture's sources are bound as
        raise UserError(str(error).replace("Mixture.sources", "Pretrain.validation")) from error
    return Validation(data, config.validate_every)


def _read(config: StepConfig, params: Any, batch: Batch) -> dict[str, jax.Array]:
    """Returns nll, tokens and bytes by source, as a training step does."""
    model = nnx.merge(graph(config.model), params)
    x_BTD = model.hidden(
        batch["tokens"],
        batch["segment_ids"] if config.segments else None,
        batch["positions"] if config.segments else None,
        max_segments=config.max_segments,
    )
    _, nll_BT = cross_entropy(
        x_BTD,
        model.head_table(),
        batch["targets"],
        batch["loss_mask"],
        chunk=config.model.loss_chunk,
        vocab_chunk=config.model.vocab_chunk,
    )
    counted_B = jnp.sum(batch["loss_mask"], axis=1)
    add = functools.partial(by_source, config, batch)
    return {
        "nll": add(jnp.sum(nll_BT * batch["loss_mask"], axis=1)),
        "tokens": add(counted_B),
        "bytes": add(jnp.where(counted_B > 0, batch["bytes"], 0)),  # none where the batch is filled
    }


@functools.lru_cache(maxsize=16)
def compiled_reading(config: StepConfig, mesh: Mesh) -> Callable[..., dict[str, jax.Array]]:
    """Returns a function of parameters and a batch, compiled when it is first called."""
    jitted = jax.jit(
        functools.partial(_read, config),
        in_shardings=(state_shardings(config, mesh).params, batch_shardings(mesh)),
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )

    def read(params: Any, batch: Batch) -> dict[str, jax.Array]:
        with in_force(mesh):
            return jitted(params, batch)

    return read


def better(figures: dict[str, Any], best: dict[str, Any] | None) -> bool:
    """Says whether a held-out loss is the lowest so far."""
    loss = figures[HELD_OUT]
    return bool(np.isfinite(loss)) and (best is None or loss < best["loss"])
