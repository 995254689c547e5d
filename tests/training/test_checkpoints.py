"""What comes back from disk is what was written, or it is set aside."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.model.weights import load_params, read_about
from synthdiv.training import MeshConfig, OptimizerConfig, export
from synthdiv.training.checkpoints import Checkpoints
from synthdiv.training.mesh import make_mesh
from synthdiv.training.step import StepConfig, abstract_state
from tests.training.conftest import TINY, state_of

FLIPS = 24


def flip_a_bit(directory: Path, draw: random.Random) -> None:
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.stat().st_size)
    file = draw.choices(files, [p.stat().st_size for p in files])[0]
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


@pytest.mark.parametrize("part", ["params", "optimizer", "progress"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(run, tmp_path, part) -> None:
    """Many bits, as most lie in compressed arrays and some where no reader looks."""
    draw = random.Random(part)
    step = StepConfig(TINY, OptimizerConfig())
    abstract = abstract_state(step, make_mesh(MeshConfig()))
    whole = state_of(run / "checkpoints" / "4")
    noticed = 0
    for number in range(FLIPS // 3):
        workdir = tmp_path / str(number)
        shutil.copytree(run, workdir)
        flip_a_bit(workdir / "checkpoints" / "4" / part, draw)
        checkpoints = Checkpoints(workdir, 3, {"model": dataclasses.asdict(TINY)}, None)
        restored = checkpoints.restore(abstract)
        checkpoints.close()
        assert restored is not None
        state, about = restored
        if int(state.step) == 4:
            jax.tree.map(
                np.testing.assert_array_equal, jax.device_get(state.params), whole["params"]
            )
            assert about["position"]["sequences"] == 32
        else:
            noticed += 1
            assert int(state.step) == 2 and (workdir / "damaged-4").is_dir()
    assert noticed


def test_a_changed_number_is_noticed_by_whoever_reads_weights(run, tmp_path) -> None:
    """Not only what the storage's own format notices: the arrays are written anew."""
    import orbax.checkpoint as ocp

    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    checkpoint = workdir / "checkpoints" / "4"
    params = state_of(checkpoint)["params"]
    params["layers"]["up"][1, 5, 7] = np.nextafter(params["layers"]["up"][1, 5, 7], 9)
    shutil.rmtree(checkpoint / "params")
    with ocp.StandardCheckpointer() as saver:
        saver.save(checkpoint / "params", params)
    for read in (load_params, lambda path: export(path, tmp_path / "out")):
        with pytest.raises(UserError, match="the parameters in .*4 are damaged: their digest"):
            read(workdir)


@pytest.mark.parametrize("changed", ["about", "missing", "tokenizer"])
def test_descriptions_are_checked_too(run, tmp_path, changed) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    checkpoint = workdir / "checkpoints" / "4"
    if changed == "about":
        about = json.loads((checkpoint / "about/metadata").read_text())
        about["model"]["rope_theta"] = 10001.0
        (checkpoint / "about/metadata").write_text(json.dumps(about))
    elif changed == "missing":
        (checkpoint / "about/metadata").unlink()
    else:
        file = checkpoint / "tokenizer/tokenizer_config.json"
        file.write_text(file.read_text() + " ")
    with pytest.raises(UserError, match="is damaged|not the ones that were saved"):
        load_params(workdir)


def test_a_checkpoint_without_digests_is_taken_and_that_is_said(run, tmp_path, capsys) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    file = workdir / "checkpoints/4/about/metadata"
    about = read_about(file.parents[1])
    del about["digests"]
    file.write_text(json.dumps(about))
    load_params(workdir)
    assert "was saved without digests" in capsys.readouterr().err
