"""Meshes that multiply to the devices, and one line for those that do not."""

import jax
import pytest

from synthdiv.errors import UserError
from synthdiv.model import ModelConfig
from synthdiv.training import MeshConfig
from synthdiv.training.mesh import check_fits, make_mesh


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (MeshConfig(), (1, 8, 1)),
        (MeshConfig(data=-1, fsdp=2, tensor=2), (2, 2, 2)),
        (MeshConfig(data=2, fsdp=4, tensor=1), (2, 4, 1)),
    ],
)
def test_one_axis_takes_what_is_left(config, sizes) -> None:
    assert config.sizes(8) == sizes


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MeshConfig(fsdp=3), "needs 3 devices, and there are 8"),
        (MeshConfig(tensor=3), "does not divide the 8 devices"),
        (MeshConfig(data=-1, fsdp=-1), "at most one is -1"),
        (MeshConfig(data=0), "1 or more"),
    ],
)
def test_meshes_that_do_not_divide_are_refused(config, words) -> None:
    with pytest.raises(UserError, match=words):
        config.sizes(8)


def test_slices_must_divide_the_data_axis() -> None:
    with pytest.raises(UserError, match="Mesh.slices=2"):
        make_mesh(MeshConfig(slices=2), jax.devices()[:1])


class _Mesh:
    def __init__(self, **shape: int) -> None:
        self.shape = {"data": 1, "fsdp": 1, "tensor": 1} | shape


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ({"data": 3}, {}, "batch of 8 sequences does not divide into 3 parts"),
        ({"fsdp": 2}, {"accumulate": 3}, "x 3 accumulated"),
        ({"tensor": 4}, {}, "Mesh.tensor=4 does not divide Model.kv_heads=2"),
        ({"tensor": 16}, {}, "Mesh.tensor=16 does not divide Model.heads=8"),
        ({"fsdp": 8, "data": 1}, {"hidden": 36}, "Mesh.fsdp=8 does not divide Model.hidden=36"),
    ],
)
def test_what_a_mesh_does_not_divide_is_named(shape, settings, words) -> None:
    accumulate = settings.pop("accumulate", 1)
    sizes = {"vocab_size": 64, "hidden": 32, "mlp": 64, "layers": 1, "heads": 8, "kv_heads": 2}
    model = ModelConfig(**(sizes | {"head_dim": 4} | settings))
    with pytest.raises(UserError, match=words):
        check_fits(model, _Mesh(**shape), 8, accumulate)
