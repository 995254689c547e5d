"""Which mesh axis each dimension of an array is cut along: the one table of sharding rules.

A dimension is known by its letter (see synthdiv.model). An array's dimensions are served from left
to right, and each mesh axis is used once per array: a batch of activations BTD is cut along B, so
its D stays whole, while a weight DF, which has no B, is cut along D. That alone is fully sharded
data parallelism: a weight is gathered where it is used, an activation never is.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

RULES: dict[str, tuple[str, ...]] = {
    "B": ("data", "fsdp"),
    "R": ("data", "fsdp"),
    "D": ("fsdp",),
    "V": ("tensor",),
    "F": ("tensor",),
    "N": ("tensor",),
    "K": ("tensor",),
    "T": (),
    "S": (),
    "H": (),
    "L": (),
}
MESH_AXES = ("data", "fsdp", "tensor")


def spec(letters: str) -> PartitionSpec:
    """Returns how an array whose dimensions are `letters` is cut, e.g. "BTD"."""
    used: set[str] = set()
    parts: list[tuple[str, ...] | None] = []
    for letter in letters:
        axes = tuple(axis for axis in RULES[letter] if axis not in used)
        used.update(axes)
        parts.append(axes or None)
    return PartitionSpec(*parts)


def constrain(x: jax.Array, letters: str) -> jax.Array:
    """Returns x, constrained to the table's sharding if a mesh is in force."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, spec(letters))


def parts(letter: str, size: int) -> int:
    """Returns into how many parts the mesh in force cuts a dimension of that letter and size.

    1 where no mesh is in force, or where its axes do not divide the size.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return 1
    number = math.prod(mesh.shape[axis] for axis in RULES[letter])
    return number if size % number == 0 else 1


def sum_parts(x: jax.Array, letters: str) -> jax.Array:
    """Returns the sum over x's first dimension, which is cut as rows are: letter R.

    First along the axes that cut the result too, each device keeping its share, so that between
    the others only shares are summed.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if x.shape[0] == 1 or mesh.empty:
        return x[0] if x.shape[0] == 1 else jnp.sum(x, axis=0)
    outer, inner = RULES["R"]
    x = x.reshape(mesh.shape[outer], mesh.shape[inner], *x.shape[1:])
    shares = jax.lax.with_sharding_constraint(
        jnp.sum(x, axis=1), PartitionSpec(outer, *spec(letters))
    )
    return constrain(jnp.sum(shares, axis=0), letters)
