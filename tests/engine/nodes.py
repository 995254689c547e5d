"""A Ray cluster of three nodes on this machine, of which the last can be killed and replaced."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from synthdiv.engine import Engine, crew

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

STORE_BYTES = 100 << 20  # of a node's objects


class Nodes:
    """Three nodes of one core each.

    Attributes:
        engine: to work there.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        settings = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=settings)
        self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        self._last = self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        self.engine = Engine("ray", self._cluster.address)

    def kill_one(self) -> None:
        """Kills all processes of the last node at once."""
        self._cluster.remove_node(self._last, allow_graceful=False)

    def replace_it(self) -> None:
        """Adds a node for the one that was killed, and waits until all three take work."""
        self._last = self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        self.wait_for_three()

    def wait_for_three(self) -> None:
        """Gives the cluster work until it was done on three nodes."""
        seen: set[str] = set()
        with crew(where, self.engine) as workers:
            while len(seen) < 3:
                seen = set(workers.map([0.2] * 12))

    @contextlib.contextmanager
    def killing_one_at(self, count: int, patch: pytest.MonkeyPatch, method: str) -> Iterator[None]:
        """Kills a node when a method, MODULE.CLASS.NAME, is called for the so-manieth time.

        Afterwards there are three again.
        """
        calls = 0
        place, name = method.rsplit(".", 1)
        owner = _named(place)
        original = getattr(owner, name)

        def counting(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                self.kill_one()
            return original(*arguments)

        with patch.context() as patched:
            patched.setattr(owner, name, counting)
            yield
        assert calls >= count, "the work was done before a node was killed"
        self.replace_it()

    def close(self) -> None:
        ray.shutdown()
        self._cluster.shutdown()


def where(seconds: float) -> str:
    """The node that this is called on."""
    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def _named(place: str) -> Any:
    import importlib

    module, name = place.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def three_nodes() -> Iterator[Nodes]:
    """Starts a cluster and stops it."""
    nodes = Nodes()
    try:
        nodes.wait_for_three()
        yield nodes
    finally:
        nodes.close()
