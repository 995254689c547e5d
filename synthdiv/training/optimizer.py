"""AdamW or Muon through optax, and the learning rate of each step.

The optimizers are built for a learning rate of 1 and the step multiplies their update by the
schedule's value. So the length of a run is a number in the state, not a constant of the compiled
step, and runs of different lengths share one compilation.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from synthdiv.config import settle
from synthdiv.errors import UserError, closest

SCHEDULES = ("linear", "cosine", "wsd", "constant")
OPTIMIZERS = ("adamw", "muon")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and linear decay, as the paper pre-trains (appendix A).

    Raises:
        UserError: an unknown name or a share outside 0..1.
    """

    name: str = "adamw"
    learning_rate: float = 3e-4  # at its peak
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1  # of all but the norms
    clip_norm: float = 1.0  # of the whole gradient; 0: no clipping
    schedule: str = "linear"
    warmup: float = 0.01  # share of the steps in which the rate rises
    final: float = 0.0  # rate at the end, as a share of the peak
    decay: float = 0.2  # wsd: share of the steps in which the rate falls
    muon_momentum: float = 0.95

    def __post_init__(self) -> None:
        settle(self)
        for field, known in (("name", OPTIMIZERS), ("schedule", SCHEDULES)):
            value = getattr(self, field)
            if value not in known:
                raise UserError(
                    f"Optimizer.{field}={value!r} is not one of {', '.join(known)}"
                    f"{closest(value, known)}"
                )
        for field in ("warmup", "final", "decay"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"Optimizer.{field} is a share, from 0 to 1")


@dataclasses.dataclass(frozen=True)
class SFTOptimizerConfig(OptimizerConfig):
    """As the paper fine-tunes (section 4 of its appendix A): a small rate and no weight decay."""

    learning_rate: float = 2e-5
    weight_decay: float = 0.0
    warmup: float = 0.03


def learning_rate(config: OptimizerConfig, step: jax.Array, steps: jax.Array) -> jax.Array:
    """Returns the rate of update number `step`, 0 for the first, of a run of `steps`; float32.

    It rises linearly to the peak over ceil(warmup * steps) updates, and is `final` times the peak
    after the last update.
    """
    step, steps = jnp.asarray(step, jnp.float32), jnp.asarray(steps, jnp.float32)
    rise = jnp.ceil(config.warmup * steps)
    up = (step + 1) / jnp.maximum(rise, 1)
    if config.schedule == "wsd":
        fall = jnp.ceil(config.decay * steps)
        progress = (step - (steps - fall)) / jnp.maximum(fall, 1)
    else:
        progress = (step - rise) / jnp.maximum(steps - rise, 1)
    progress = jnp.clip(progress, 0, 1)
    if config.schedule == "cosine":
        down = config.final + (1 - config.final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    elif config.schedule == "constant":
        down = jnp.ones_like(progress)
    else:
        down = 1 - (1 - config.final) * progress
    return config.learning_rate * jnp.where(step < rise, up, down)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Returns the optimizer for a learning rate of 1, clipping included."""
    update = optax.adamw(
        1.0,
        b1=config.beta1,
        b2=config.beta2,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        mask=_decayed,
    )
    if config.name == "muon":
        # Not optax's own partition, whose AdamW is Nesterov's and takes no mask for the decay.
        matrices = muon(
            1.0,
            beta=config.muon_momentum,
            weight_decay=config.weight_decay,
            muon_weight_dimension_numbers=_muon_dimensions,
            # Scales Muon's update to AdamW's size, so that one learning rate serves both
            # (Liu et al. 2025, section 2.2).
            consistent_rms=0.2,
        )
        update = optax.partition({"muon": matrices, "adamw": update}, _muon_or_adamw)
    if config.clip_norm:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
    return update


def _decayed(params: Any) -> Any:
    def decayed(path: tuple, _: Any) -> bool:
        return not _name(path).endswith(("norm", "bias"))

    return jax.tree_util.tree_map_with_path(decayed, params)


_MATRICES = ("query", "key", "value", "output", "gate", "up", "down")


def _muon_or_adamw(params: Any) -> Any:
    """Muon for each layer's matrices, AdamW for everything else."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "muon" if _name(path) in _MATRICES else "adamw", params
    )


def _muon_dimensions(params: Any) -> Any:
    """Returns which dimensions of each layer's matrices are summed over."""
    outer = MuonDimensionNumbers(reduction_axis=(1,), output_axis=(2, 3))
    plain = MuonDimensionNumbers(reduction_axis=(1,), output_axis=(2,))
    inner = MuonDimensionNumbers(reduction_axis=(1, 2), output_axis=(3,))
    table = {"query": outer, "key": outer, "value": outer, "output": inner}
    table |= {"gate": plain, "up": plain, "down": plain}
    return jax.tree_util.tree_map_with_path(lambda path, _: table[_name(path)], params)


def _name(path: tuple) -> str:
    return str(path[-1].key)
