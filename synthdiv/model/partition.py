"""Which mesh axis each dimension of an array is cut along: the one table of sharding rules.

A dimension is known by its letter (see synthdiv.model). An array's dimensions are served from left
to right, and each mesh axis is used once per array: a batch of activations BTD is cut along B, so
its D stays whole, while a weight DF, which has no B, is cut along D. That alone is fully sharded
data parallelism: a weight is gathered where it is used, an activation never is.
"""

import jax
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
