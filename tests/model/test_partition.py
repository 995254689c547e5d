"""The table of sharding rules gives each mesh axis out once an array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from synthdiv.model.partition import MESH_AXES, RULES, constrain, spec


@pytest.mark.parametrize(
    ("letters", "parts"),
    [
        ("BTD", P(("data", "fsdp"), None, None)),  # the batch has fsdp, so D stays whole
        ("BTF", P(("data", "fsdp"), None, ("tensor",))),
        ("LDF", P(None, ("fsdp",), ("tensor",))),
        ("LFD", P(None, ("tensor",), ("fsdp",))),
        ("LDNH", P(None, ("fsdp",), ("tensor",), None)),
        ("VD", P(("tensor",), ("fsdp",))),
        ("", P()),
    ],
)
def test_specs(letters: str, parts: P) -> None:
    assert spec(letters) == parts


def test_rules_name_the_meshes_axes() -> None:
    assert {axis for axes in RULES.values() for axis in axes} == set(MESH_AXES)


def test_without_a_mesh_nothing_is_constrained() -> None:
    x = jnp.ones((2, 3, 4))
    np.testing.assert_array_equal(constrain(x, "BTD"), x)
    assert "sharding_constraint" not in str(jax.make_jaxpr(lambda x: constrain(x, "BTD"))(x))
