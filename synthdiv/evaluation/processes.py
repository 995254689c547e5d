"""What several processes on several machines need to evaluate as one: equal batches, equal answers.

Every process runs the same evaluation and gets all of its results; the first one alone reads and
writes files. Which batches are left to run must not differ between them, so the first process
tells the others what it knows.
"""

import pickle
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding

T = TypeVar("T")


def is_first() -> bool:
    """Returns whether this process reads and writes files; true if there is only one."""
    return jax.process_index() == 0


def from_first(value: T) -> T:
    """Returns the first process' value on every process (a collective if there are several)."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    sent = np.frombuffer(pickle.dumps(value), np.uint8) if is_first() else np.empty(0, np.uint8)
    size = int(broadcast_one_to_all(np.int64(len(sent))))
    padded = np.zeros(size, np.uint8)
    padded[: len(sent)] = sent
    return pickle.loads(np.asarray(broadcast_one_to_all(padded)).tobytes())


def put(array: np.ndarray | jax.Array, sharding: NamedSharding) -> jax.Array:
    """Places an array that every process holds on all devices, cut as `sharding` says."""
    if jax.process_count() == 1:
        return jax.device_put(array, sharding)
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
