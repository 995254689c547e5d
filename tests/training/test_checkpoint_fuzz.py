"""Random damage to the newest checkpoint of a run: the same state, the one before, or one line.

FUZZ_EXAMPLES=10000 python -m pytest tests/training/test_checkpoint_fuzz.py    for an hour of it
"""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("hypothesis")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from synthdiv.errors import UserError  # noqa: E402
from synthdiv.model.weights import load_params  # noqa: E402
from synthdiv.training import MeshConfig, OptimizerConfig  # noqa: E402
from synthdiv.training.checkpoints import Checkpoints  # noqa: E402
from synthdiv.training.mesh import make_mesh  # noqa: E402
from synthdiv.training.step import StepConfig, abstract_state  # noqa: E402
from tests.fuzzing import fuzz  # noqa: E402
from tests.training.conftest import TINY, state_of  # noqa: E402

OLD, NEW = "2", "4"  # steps


def _flip(file: Path, at: float, _: Path) -> None:
    content = bytearray(file.read_bytes())
    if content:
        bit = int(at * 8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)


def _cut(file: Path, at: float, _: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(at * len(content))])


def _empty(file: Path, at: float, _: Path) -> None:
    file.write_bytes(b"")


def _remove(file: Path, at: float, _: Path) -> None:
    file.unlink(missing_ok=True)


def _remove_directory(file: Path, at: float, _: Path) -> None:
    if file.parent.name != NEW:  # which would be no checkpoint
        shutil.rmtree(file.parent, ignore_errors=True)


def _exchange(file: Path, at: float, other: Path) -> None:
    if file.exists() and other.exists():
        one, two = file.read_bytes(), other.read_bytes()
        file.write_bytes(two)
        other.write_bytes(one)


def _take_older(file: Path, at: float, _: Path) -> None:
    """The file of the same name, or where names are random the part, of the one before."""
    newest = next(p for p in file.parents if p.name == NEW)
    inside = file.relative_to(newest)
    if (older := newest.with_name(OLD) / inside).exists():
        shutil.copyfile(older, file)
    else:
        part = newest / inside.parts[0]
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(newest.with_name(OLD) / inside.parts[0], part)


DAMAGES: tuple[Callable[[Path, float, Path], None], ...] = (
    *(_flip, _cut, _empty, _remove, _remove_directory, _exchange, _take_older),
)
PLACES = st.floats(0, 1, exclude_max=True)
DAMAGE = st.tuples(st.sampled_from(DAMAGES), PLACES, PLACES, PLACES)


def same(a, b) -> bool:
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def test_a_damaged_checkpoint_is_noticed_or_whole(run, tmp_path) -> None:
    before = {step: state_of(run / "checkpoints" / step) for step in (OLD, NEW)}
    abstract = abstract_state(StepConfig(TINY, OptimizerConfig()), make_mesh(MeshConfig()))
    files = sorted(
        p.relative_to(run) for p in (run / "checkpoints" / NEW).rglob("*") if p.is_file()
    )
    workdir = tmp_path / "run"
    outcomes = []

    @fuzz(8, shrink=False)  # an example takes half a second
    @given(damages=st.lists(DAMAGE, min_size=1, max_size=2))
    def damaged(damages) -> None:
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(run, workdir)
        for damage, which, at, other in damages:
            file, second = (workdir / files[int(place * len(files))] for place in (which, other))
            if file.exists():
                damage(file, at, second)
        try:
            params, config, _ = load_params(workdir)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert config == TINY
            assert same(jax.device_get(params), before[NEW]["params"])
        checkpoints = Checkpoints(workdir, 3, {"model": dataclasses.asdict(TINY)}, None)
        restored = checkpoints.restore(abstract)
        checkpoints.close()
        assert restored is not None
        state, about = restored
        step = str(about["step"])
        outcomes.append(step)
        assert step == NEW or (workdir / f"damaged-{NEW}").is_dir()
        assert about["position"]["sequences"] == 8 * int(step)
        read = jax.device_get(
            {"params": state.params, "optimizer": state.optimizer, "step": state.step}
        )
        assert same(read["params"], before[step]["params"]) and int(read["step"]) == int(step)
        wanted = jax.tree.leaves(before[step]["optimizer"])
        assert same(jax.tree.leaves(read["optimizer"]), wanted)

    damaged()
    assert set(outcomes) == {OLD, NEW}
    print({step: outcomes.count(step) for step in (OLD, NEW)})
