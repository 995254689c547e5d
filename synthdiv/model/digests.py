"""Digests of arrays, which tell whether what was read from disk is what was written.

A digest is a sum over all numbers of an array, so it is the same on any mesh and is computed where
the numbers are. Each number enters through a permutation of 32-bit words, chosen by its place: a
digest always notices one changed number, and misses several with a probability of about 2^-64.
"""

import hashlib
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.errors import UserError

_LANES = ((0x9E3779B1, 0x85EBCA6B), (0xC2B2AE3D, 0x27D4EB2F))  # (odd factor of the place, offset)


def digest(tree: Any) -> str:
    """Returns the hex digest of a tree of arrays: of their names, shapes, types and bits."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = jax.device_get(_sums([leaf for _, leaf in leaves]))
    words = [
        [jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, str(leaf.dtype), s]
        for (path, leaf), s in zip(leaves, sums.tolist(), strict=True)
    ]
    return hashlib.sha256(json.dumps(sorted(words)).encode()).hexdigest()


def digest_of_json(content: Any) -> str:
    """Returns the hex digest of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check(tree: Any, saved: str, what: str) -> None:
    """Refuses arrays whose digest is not the one that was saved with them.

    Raises:
        UserError: they differ; the message begins with `what`.
    """
    if digest(tree) != saved:
        raise UserError(f"{what} are damaged: their digest is not the one that was saved with them")


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    """Returns the two sums of each array, uint32, (arrays, 2)."""
    return jnp.array([[_sum(leaf, *lane) for lane in _LANES] for leaf in leaves], jnp.uint32)


def _sum(leaf: jax.Array, factor: int, offset: int) -> jax.Array:
    width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    word = jax.lax.bitcast_convert_type(leaf, width).astype(jnp.uint32)
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for dimension in range(leaf.ndim):
        stride = math.prod(leaf.shape[dimension + 1 :]) % 2**32
        index = jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, dimension)
        place += index * np.uint32(stride)
    word ^= place * np.uint32(factor) + np.uint32(offset)
    # A permutation of 32-bit words without a visible pattern (lowbias32, C. Wellons 2018).
    word = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * np.uint32(0x846CA68B)
    return jnp.sum(word ^ (word >> 16), dtype=jnp.uint32)
