"""The memory that a training step takes on a device, told from shapes, without a compiler.

Exact: the state. Estimated: what the forward pass keeps for the backward pass, which is most of the
rest. Where layers are looped, or recompute, that is what automatic differentiation says it keeps,
and it is asked. Where they are written out, the compiler fuses what is cheap to compute again, and
keeps what matrix products and attention read and write (docs/decisions.md).
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from synthdiv.model.attention import LONG, backend_of
from synthdiv.model.block import forward
from synthdiv.model.config import ModelConfig
from synthdiv.model.weights import abstract_params
from synthdiv.training.step import StepConfig, abstract_state


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device.

    Attributes:
        state: parameters and optimizer; exact.
        weights: the parameters in the type of the products, gathered from other devices.
        a_sequence: what one more sequence of a micro-batch takes.
        activations: what the forward pass keeps, of all sequences of a micro-batch.
        logits: of one chunk of positions, and the head's gradient.
        gradients: of all parameters; they come as activations go.
        summed: gradients that are kept while the next micro-batch is computed.
    """

    state: int
    weights: int
    a_sequence: int
    activations: int
    logits: int
    gradients: int
    summed: int

    @property
    def total(self) -> int:
        """The most that is held at one time."""
        moment = max(self.activations + self.logits, self.gradients)
        return self.state + self.weights + self.summed + moment

    def most_sequences(self, room: float) -> int:
        """How many sequences of a micro-batch a device with `room` bytes takes."""
        fixed = self.state + self.weights + self.summed
        if fixed + self.gradients > room:
            return 0
        return max(0, int((room - fixed - self.logits) // self.a_sequence))


def state_bytes(config: StepConfig, mesh: Mesh | AbstractMesh) -> int:
    """Returns the bytes a device of parameters and optimizer."""
    plain = dataclasses.replace(config.model, remat="none")  # how a step is computed is all one
    return _state_bytes(dataclasses.replace(config, model=plain, accumulate=1), mesh)


@functools.lru_cache(maxsize=256)
def _state_bytes(config: StepConfig, mesh: Mesh | AbstractMesh) -> int:
    return sum(
        math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize
        for a in jax.tree.leaves(abstract_state(config, mesh))
    )


def estimate(
    config: StepConfig, mesh: Mesh | AbstractMesh, batch_size: int, length: int, platform: str
) -> Memory:
    """Returns what a step takes on each device of a mesh.

    Args:
        config: of the step.
        mesh: may be abstract, so its devices need not be here.
        batch_size: sequences in one update, over all devices.
        length: tokens a sequence.
        platform: JAX's name of the devices' kind: "gpu", "tpu", "cpu".
    """
    model, tensor = config.model, mesh.shape["tensor"]
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    sequences = batch_size // (rows * config.accumulate)
    backend, _ = backend_of(model, length, platform)
    width = jnp.dtype(model.dtype).itemsize
    mine = _share(model, tensor)
    a_sequence = _kept_a_sequence(mine, length, backend)
    head = model.vocab_size * model.hidden // tensor
    params = model.parameters // tensor
    copied = params if width < 4 or mesh.shape["fsdp"] > 1 else 0
    if model.remat != "none":  # gathered and cast again where a layer is recomputed
        copied = min(copied, 2 * (params - head) // model.layers + head)
    positions = min(sequences * length, model.loss_chunk)
    logits = 4 * positions * (model.vocab_chunk or model.vocab_size) // tensor
    gradients = 4 * params // mesh.shape["fsdp"]
    return Memory(
        state=state_bytes(config, mesh),
        weights=width * copied,
        a_sequence=a_sequence,
        activations=a_sequence * sequences,
        logits=logits + 4 * head,
        gradients=gradients,
        summed=gradients if config.accumulate > 1 else 0,
    )


def _share(model: ModelConfig, tensor: int) -> ModelConfig:
    """The model as one of `tensor` devices computes it."""
    return dataclasses.replace(
        model,
        heads=model.heads // tensor,
        kv_heads=model.num_kv_heads // tensor,
        head_dim=model.head_size,
        mlp=model.mlp // tensor,
        fp8=False,
    )


@functools.lru_cache(maxsize=256)
def _kept_a_sequence(model: ModelConfig, length: int, backend: str) -> int:
    """Bytes that all layers keep of one sequence until the backward pass."""
    width = jnp.dtype(model.dtype).itemsize
    scores = 0
    if backend == "xla" and length < LONG:  # longer ones are computed again
        scores = model.heads * length**2 * (4 + width)
    whole = scores + _written_out(model, length)
    # What the last norm and the loss read, and the gradient that the loss returns.
    ends = 3 * width * length * model.hidden
    if model.remat != "none":  # one layer at a time is whole again
        return ends + model.layers * _differentiated(model, length) + whole
    if model.scans(backend):
        return ends + model.layers * (scores + _differentiated(model, length))
    return ends + model.layers * whole


def _written_out(model: ModelConfig, length: int) -> int:
    """Bytes that one layer keeps of a sequence: what its products and its attention read and write.

    The layer's input, its middle, and both normed; queries, keys, values and what attention reads
    with them; gate, up, and their product.
    """
    heads = 2 * (model.heads + model.num_kv_heads) * model.head_size
    numbers = 4 * model.hidden + heads + 3 * model.mlp
    return length * (jnp.dtype(model.dtype).itemsize * numbers + 4 * model.heads)


def _differentiated(model: ModelConfig, length: int) -> int:
    """Bytes that one looped layer keeps of a sequence, as automatic differentiation has it."""

    def attention(q: jax.Array, k: jax.Array, v: jax.Array, _: Any) -> tuple[jax.Array, None]:
        return _flash(q, k, v), None

    def kept(params: Any, tokens: jax.Array) -> Any:
        def run(params: Any) -> jax.Array:
            return forward(params, small, tokens, jnp.arange(length)[None], attention)[0]

        return jax.vjp(run, params)[1]

    # What is stacked by layer is known by their number, and what belongs to sequences by theirs.
    layers, sequences = 1009, 1013
    small = dataclasses.replace(model, layers=layers, vocab_size=8, tie_embeddings=True)
    tokens = jax.ShapeDtypeStruct((sequences, length), jnp.int32)
    params = abstract_params(dataclasses.replace(small, remat="none"))  # as for the others
    found = jax.tree.leaves(jax.eval_shape(kept, params, tokens))
    stacked = [a for a in found if a.shape[:1] == (layers,) and a.size % sequences == 0]
    return sum(a.size * a.dtype.itemsize for a in stacked) // (layers * sequences)


@jax.custom_vjp
def _flash(q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array) -> jax.Array:
    """Has the shapes of a flash kernel, forward and backward, and computes nothing."""
    return q_BTNH


def _flash_forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, Any]:
    out = q + 0
    return out, (q, k, v, out, jnp.zeros(q.shape[:3], jnp.float32))


def _flash_backward(kept: Any, upstream: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return upstream, kept[1], kept[2]


_flash.defvjp(_flash_forward, _flash_backward)
