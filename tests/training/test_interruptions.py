"""What a kill and a full disk leave is gone on from; tests/faults has real ones, of processes."""

import contextlib
import dataclasses
import resource
import shutil
import sys
import time
from pathlib import Path

import pytest

from synthdiv.errors import Paused
from synthdiv.training import PretrainConfig, loop, pretrain
from tests.faults.test_train_killed import assert_same_run
from tests.training.conftest import TINY

STEPS = 12


@pytest.fixture
def random_parts(config: PretrainConfig) -> PretrainConfig:
    """A run with dropout, two sources and accumulation."""
    model = dataclasses.replace(TINY, attention_dropout=0.1)
    return dataclasses.replace(config, model=model, accumulate=2, checkpoint_every=4, log_every=1)


def test_what_lies_on_the_disk_at_any_step_ends_in_the_same(
    random_parts, tmp_path, monkeypatch
) -> None:
    """Copies of the directory are what kills leave, checkpoints that are being written included."""
    whole, steps = tmp_path / "whole", iter(range(STEPS))
    copies = {step: tmp_path / f"killed at {step}" for step in (4, 11)}
    place = loop.place

    def place_and_copy(*arguments):
        if (step := next(steps)) in copies:
            with contextlib.suppress(shutil.Error):  # what is renamed meanwhile
                shutil.copytree(whole, copies[step])
        return place(*arguments)

    monkeypatch.setattr(loop, "place", place_and_copy)
    pretrain(random_parts, whole)
    monkeypatch.setattr(loop, "place", place)
    assert next(steps, None) is None
    for copy in copies.values():
        assert not (copy / "done.json").exists()
        pretrain(random_parts, copy)
        assert_same_run(whole, copy)


def test_a_full_disk_is_a_pause_and_the_run_goes_on(
    random_parts, tmp_path: Path, monkeypatch, capfd
) -> None:
    """No file may grow to the size of the parameters, from the sixth step on."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    steps, place = iter(range(STEPS)), loop.place
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def place_and_fill(*arguments):
        if next(steps) == 5:
            until = time.monotonic() + 60
            while not (tmp_path / "checkpoints/4").is_dir() and time.monotonic() < until:
                time.sleep(0.01)  # it is written by a thread
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        return place(*arguments)

    monkeypatch.setattr(loop, "place", place_and_fill)
    try:
        with pytest.raises(Paused, match=r"no room left on the disk \(") as paused:
            pretrain(random_parts, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(paused.value) and (tmp_path / "checkpoints/4").is_dir()
    said = capfd.readouterr().err
    assert "Traceback" not in said and "Warning" not in said
    monkeypatch.setattr(loop, "place", place)
    assert pretrain(random_parts, tmp_path).name == str(STEPS)
    said = capfd.readouterr().err
    assert "resuming from" in said and "damaged" not in said
