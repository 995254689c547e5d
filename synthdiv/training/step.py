"""The training step: a pure function of state and batch, compiled for a mesh, its state donated."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from synthdiv.model.config import ModelConfig
from synthdiv.model.llama import Llama
from synthdiv.model.loss import cross_entropy
from synthdiv.model.partition import spec
from synthdiv.model.weights import graph, letters
from synthdiv.training.config import RunConfig
from synthdiv.training.mesh import in_force, shardings
from synthdiv.training.optimizer import OptimizerConfig, learning_rate, make_optimizer

Batch = dict[str, jax.Array]

BATCH_LETTERS = {
    "tokens": "BT",
    "targets": "BT",
    "segment_ids": "BT",
    "positions": "BT",
    "loss_mask": "BT",
    "source": "B",
    "bytes": "B",
}
SMOOTHING = 0.98  # of loss_mean
SETTLING = 50  # steps before a jump of the loss counts as a spike


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What an update reads and writes.

    Attributes:
        params: nested dict of float32 arrays.
        optimizer: optax's state.
        key: raw PRNG key of the run.
        step: int32, updates made or skipped.
        steps: int32, length of the run.
        loss_mean: float32, smoothed loss.
        bad_step: int32, the first step whose loss or gradient was unusable; -1: none.
    """

    params: Any
    optimizer: Any
    key: jax.Array
    step: jax.Array
    steps: jax.Array
    loss_mean: jax.Array
    bad_step: jax.Array


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """All that a compiled step depends on, besides shapes.

    `on_bad` is what happens when the loss or the gradient is not finite, or when the loss jumps by
    more than `spike` nats over its smoothed value (0: never): "stop" keeps the state as it was from
    that step on; "skip" leaves out that update only.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    accumulate: int = 1
    z_loss: float = 0.0
    spike: float = 0.0
    on_bad: str = "stop"
    sources: int = 1
    segments: bool = True  # attention stays inside a document; False: only the causal mask
    max_segments: int = 0  # in any sequence; 0: unknown

    @classmethod
    def of(
        cls, run: RunConfig, model: ModelConfig, sources: int, max_segments: int = 0
    ) -> "StepConfig":
        """Returns what the step of a run is compiled for."""
        return cls(
            model=model,
            optimizer=run.optimizer,
            accumulate=run.accumulate,
            z_loss=run.z_loss,
            spike=run.spike,
            on_bad=run.on_bad,
            sources=sources,
            segments=run.segments,
            max_segments=max_segments,
        )


def state_shardings(config: StepConfig, mesh: Mesh | AbstractMesh) -> TrainState:
    """Returns the sharding of every array of the state."""
    replicated = NamedSharding(mesh, PartitionSpec())
    by_letters = shardings(mesh, letters(config.model))
    shapes = _shapes(config.model, config.optimizer)
    of_param = dict(jax.tree_util.tree_flatten_with_path(by_letters)[0])

    def like_its_parameter(path: tuple[Any, ...], _: Any) -> NamedSharding:
        """A moment has the path of its parameter at its end; a count does not."""
        ends = (path[i:] for i in range(len(path)))
        return next((of_param[end] for end in ends if end in of_param), replicated)

    return dataclasses.replace(
        jax.tree.map(lambda _: replicated, shapes),
        params=by_letters,
        optimizer=jax.tree_util.tree_map_with_path(like_its_parameter, shapes.optimizer),
    )


@functools.lru_cache(maxsize=64)
def _shapes(model: ModelConfig, optimizer: OptimizerConfig) -> TrainState:
    """The state's shapes and dtypes."""
    return jax.eval_shape(functools.partial(_init, StepConfig(model, optimizer)), _seed(0), 1)


def _seed(seed: int) -> np.ndarray:
    """The data of `jax.random.key(seed)`, made without touching a device."""
    return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)


def _init(config: StepConfig, key_data: jax.Array, steps: jax.Array) -> TrainState:
    init_key, run_key = jax.random.split(jax.random.wrap_key_data(key_data))
    params = Llama(config.model, nnx.Rngs(params=init_key)).params()
    return _state(config, params, run_key, steps)


def _state(config: StepConfig, params: Any, run_key: jax.Array, steps: jax.Array) -> TrainState:
    return TrainState(
        params=params,
        optimizer=make_optimizer(config.optimizer).init(params),
        key=jax.random.key_data(run_key),
        step=jnp.zeros((), jnp.int32),
        steps=jnp.asarray(steps, jnp.int32),
        loss_mean=jnp.zeros((), jnp.float32),
        bad_step=jnp.full((), -1, jnp.int32),
    )


@functools.lru_cache(maxsize=16)
def _compiled_init(config: StepConfig, mesh: Mesh) -> Callable[..., TrainState]:
    # It runs once: on the CPU, optimizing its random numbers would take longer than making them.
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return jax.jit(
        functools.partial(_init, config),
        out_shardings=state_shardings(config, mesh),
        compiler_options={"xla_backend_optimization_level": 0} if on_cpu else None,
    )


@functools.lru_cache(maxsize=16)
def _compiled_start(config: StepConfig, mesh: Mesh) -> Callable[..., TrainState]:
    def start(params: Any, key_data: jax.Array, steps: jax.Array) -> TrainState:
        return _state(config, params, jax.random.wrap_key_data(key_data), steps)

    return jax.jit(start, out_shardings=state_shardings(config, mesh), donate_argnums=0)


def init_state(
    config: StepConfig, mesh: Mesh, seed: int, steps: int, params: Any = None
) -> TrainState:
    """Returns the state of a new run, every array created where it belongs on the mesh.

    Args:
        config: what the step is compiled for.
        mesh: of devices.
        seed: of the weights and of dropout.
        steps: length of the run, for the learning rate.
        params: the weights to start from (donated); None: random ones from the seed.
    """
    with in_force(mesh):
        replicated = NamedSharding(mesh, PartitionSpec())
        key_data, length = jax.device_put((_seed(seed), np.int32(steps)), replicated)
        if params is None:
            return _compiled_init(config, mesh)(key_data, length)
        params = jax.device_put(params, state_shardings(config, mesh).params)
        return _compiled_start(config, mesh)(params, key_data, length)


def _loss(
    config: StepConfig,
    model_graph: Any,
    params: Any,
    batch: Batch,
    key: jax.Array,
    tokens: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the micro-batch's share of the mean loss, and each position's nll, (B, T)."""
    model = nnx.merge(model_graph, params)
    x_BTD = model.hidden(
        batch["tokens"],
        batch["segment_ids"] if config.segments else None,
        batch["positions"] if config.segments else None,
        max_segments=config.max_segments,
        dropout_key=key if config.model.attention_dropout else None,
    )
    total, nll_BT = cross_entropy(
        x_BTD,
        model.head_table(),
        batch["targets"],
        batch["loss_mask"] / tokens,
        z_loss=config.z_loss,
        chunk=config.model.loss_chunk,
        vocab_chunk=config.model.vocab_chunk,
    )
    return total, nll_BT


def train_step(
    config: StepConfig, state: TrainState, batch: Batch
) -> tuple[TrainState, dict[str, Any]]:
    """One update. The loss is the mean over all counted positions of the whole batch.

    Returns:
        The new state, and metrics: `loss` (nats a token), `nll`, `tokens` and `bytes` summed by
        source, (sources,), `grad_norm`, `param_norm`, `learning_rate`, `bad` (bool).
    """
    tokens = jnp.maximum(jnp.sum(batch["loss_mask"]), 1.0)
    loss, nll_BT, grads = _gradients(config, state, batch, tokens)

    grad_norm = optax.tree_utils.tree_norm(grads)
    rate = learning_rate(config.optimizer, state.step, state.steps)
    bad = ~(jnp.isfinite(loss) & jnp.isfinite(grad_norm))
    if config.spike:
        settled = state.step >= SETTLING
        bad |= settled & (loss > state.loss_mean + config.spike)
    held = bad if config.on_bad == "skip" else bad | (state.bad_step >= 0)

    updates, new_optimizer = make_optimizer(config.optimizer).update(
        grads, state.optimizer, state.params
    )
    new_params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
    first = state.step == 0
    smoothed = jnp.where(first, loss, SMOOTHING * state.loss_mean + (1 - SMOOTHING) * loss)

    def unless_held(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(held, o, n), new, old)

    new_state = TrainState(
        params=unless_held(new_params, state.params),
        optimizer=unless_held(new_optimizer, state.optimizer),
        key=state.key,
        step=state.step + 1,
        steps=state.steps,
        loss_mean=jnp.where(held, state.loss_mean, smoothed),
        bad_step=jnp.where(bad & (state.bad_step < 0), state.step, state.bad_step),
    )
    counted_B = jnp.sum(batch["loss_mask"], axis=1)
    nll_B = jnp.sum(nll_BT * batch["loss_mask"], axis=1)
    metrics = {
        "loss": loss,
        "nll": by_source(config, batch, nll_B),
        "tokens": by_source(config, batch, counted_B),
        "bytes": by_source(config, batch, batch["bytes"]),
        "grad_norm": grad_norm,
        "param_norm": optax.tree_utils.tree_norm(state.params),
        "learning_rate": rate,
        "bad": bad,
    }
    return new_state, metrics


def by_source(config: StepConfig, batch: Batch, x_B: jax.Array) -> jax.Array:
    """Returns the sums over the sequences of each source, float32 (sources,)."""
    sums = jnp.zeros(config.sources, jnp.float32)
    return sums.at[batch["source"]].add(x_B.astype(jnp.float32))


def _gradients(
    config: StepConfig, state: TrainState, batch: Batch, tokens: jax.Array
) -> tuple[jax.Array, jax.Array, Any]:
    """Returns the batch's mean loss, each position's nll (B, T), and the gradients."""
    model_graph = graph(config.model)
    step_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    value_and_grad = jax.value_and_grad(functools.partial(_loss, config, model_graph), has_aux=True)
    if config.accumulate == 1:
        (loss, nll_BT), grads = value_and_grad(state.params, batch, step_key, tokens)
        return loss, nll_BT, grads

    # Row r of every micro-batch comes from the same device: (B,) -> (B/A, A) -> (A, B/A).
    micro = jax.tree.map(
        lambda a: jnp.swapaxes(
            a.reshape(a.shape[0] // config.accumulate, config.accumulate, *a.shape[1:]), 0, 1
        ),
        batch,
    )

    def add(carry: Any, part_and_number: Any) -> tuple[Any, jax.Array]:
        part, number = part_and_number
        loss, grads = carry
        (more, nll_BT), part_grads = value_and_grad(
            state.params, part, jax.random.fold_in(step_key, number), tokens
        )
        return (loss + more, jax.tree.map(jnp.add, grads, part_grads)), nll_BT

    start = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, state.params))
    (loss, grads), nll = jax.lax.scan(add, start, (micro, jnp.arange(config.accumulate)))
    return loss, jnp.swapaxes(nll, 0, 1).reshape(batch["tokens"].shape), grads


def batch_shardings(mesh: Mesh) -> dict[str, NamedSharding]:
    """Returns how each array of a batch is cut over the mesh."""
    return {name: NamedSharding(mesh, spec(word)) for name, word in BATCH_LETTERS.items()}


def place(batch: dict[str, Any], mesh: Mesh) -> Batch:
    """Puts this process's rows of a batch onto its devices."""
    placed = batch_shardings(mesh)
    if jax.process_count() == 1:
        return jax.device_put({name: batch[name] for name in placed}, placed)
    return {
        name: jax.make_array_from_process_local_data(placed[name], batch[name]) for name in placed
    }


def abstract_batch(mesh: Mesh, batch_size: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes, dtypes and shardings of a batch."""
    kinds = {"loss_mask": jnp.float32}
    return {
        name: jax.ShapeDtypeStruct(
            (batch_size, length)[: len(BATCH_LETTERS[name])],
            kinds.get(name, jnp.int32),
            sharding=sharding,
        )
        for name, sharding in batch_shardings(mesh).items()
    }


def abstract_state(config: StepConfig, mesh: Mesh | AbstractMesh) -> TrainState:
    """Returns the state's shapes, dtypes and shardings, without computing anything."""
    shapes = _shapes(config.model, config.optimizer)
    return jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
        shapes,
        state_shardings(config, mesh),
    )


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """`train_step` for one configuration and mesh; the state that it is given is donated.

    Attributes:
        mesh: the mesh that it is traced for.
        jitted: the function under `jax.jit`.
    """

    mesh: Mesh
    jitted: Any

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Makes one update; see `train_step`."""
        with in_force(self.mesh):
            return self.jitted(state, batch)

    def lower(self, state: Any, batch: Any) -> jax.stages.Lowered:
        """Traces the step for arrays or their shapes, to analyse its cost and memory."""
        with in_force(self.mesh):
            return self.jitted.lower(state, batch)


@functools.lru_cache(maxsize=16)
def compiled_step(config: StepConfig, mesh: Mesh) -> CompiledStep:
    """Returns `train_step`, compiled when it is first called.

    The same object comes back for equal arguments, so a process that trains several models of one
    shape compiles once.
    """
    placed = state_shardings(config, mesh)
    return CompiledStep(
        mesh,
        jax.jit(
            functools.partial(train_step, config),
            in_shardings=(placed, batch_shardings(mesh)),
            out_shardings=(placed, NamedSharding(mesh, PartitionSpec())),
            donate_argnums=0,
        ),
    )
