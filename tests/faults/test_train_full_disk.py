"""A disk that fills up while checkpoints are written costs one line, and nothing that was saved."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthdiv.errors import Paused
from synthdiv.training.storage import told_in_one_line
from tests.conftest import QUICKLY_COMPILED
from tests.training.conftest import write_tokens

ROOT = Path(__file__).resolve().parents[2]
# In a namespace of its own: a small disk, the run, then more room and the same run again.
_RUNS = """
mount -t tmpfs -o size=3m none "$DISK" || exit 99
"$@" 2>"$TOLD/full"; echo $? >"$TOLD/first"
ls "$DISK/run/checkpoints" >"$TOLD/saved"
mount -o remount,size=60m "$DISK"
"$@" 2>"$TOLD/room"; echo $? >"$TOLD/second"
"""


@pytest.mark.slow  # tests/training/test_interruptions.py lets writes fail in one process
def test_a_full_disk_is_one_line_and_the_run_goes_on(tmp_path) -> None:
    enter = ["unshare", "--map-root-user", "--mount", "sh", "-c", _RUNS, "sh"]
    if not shutil.which("unshare"):
        pytest.skip("no unshare, which gives a process a small disk of its own")
    even, _ = write_tokens(tmp_path)
    disk, told = tmp_path / "disk", tmp_path / "told"
    disk.mkdir()
    told.mkdir()
    settings = tmp_path / "run.gin"
    settings.write_text(
        f"""
        Mixture.sources = (("{even}", 9000),)
        Model.vocab_size = 512
        Model.hidden = 64
        Model.mlp = 128
        Model.layers = 2
        Model.heads = 8
        Model.max_length = 32
        Model.dtype = "float32"
        Pretrain.batch_size = 8
        Pretrain.tokens = {8 * 8 * 32}
        Pretrain.log_every = 1
        Pretrain.checkpoint_every = 1
        Pretrain.keep = 8
        Pretrain.tensorboard = False
        Pretrain.compile_cache = "{tmp_path / "xla"}"
        """
    )
    command = [sys.executable, "-m", "synthdiv.pretrain", f"--config={settings}"]
    ran = subprocess.run(
        [*enter, *command, f"--workdir={disk / 'run'}"],
        cwd=ROOT,
        env=os.environ
        | {"DISK": str(disk), "TOLD": str(told), "JAX_PLATFORMS": "cpu"}
        | QUICKLY_COMPILED,
        capture_output=True,
        text=True,
    )
    if ran.returncode == 99 or not (told / "first").exists():
        pytest.skip("mounts in a namespace of one's own are not permitted here")
    full = (told / "full").read_text()
    assert (told / "first").read_text() == "75\n", full
    assert "Traceback" not in full and "Warning" not in full
    last = full.splitlines()[-1]
    assert last.startswith("paused: no room left on the disk (")
    assert (told / "saved").read_text().split()  # checkpoints from before
    room = (told / "room").read_text()
    assert (told / "second").read_text() == "0\n" and "resuming from" in room, room
    assert "damaged" not in room


def _writes_of_which_two_fail() -> None:
    """One failure is raised; the other's task is forgotten with its loop, as Orbax does."""

    async def write() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def save() -> None:
        tasks = [asyncio.ensure_future(write()) for _ in range(2)]
        await tasks[0]

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(save())
    finally:
        loop.close()


def test_writes_that_fail_after_the_first_say_nothing(tmp_path, caplog) -> None:
    with contextlib.suppress(OSError):
        _writes_of_which_two_fail()
    gc.collect()
    assert "never retrieved" in caplog.text  # what the user would read
    caplog.clear()
    with pytest.raises(Paused, match="no room left"), told_in_one_line(tmp_path):
        _writes_of_which_two_fail()
    gc.collect()
    assert not caplog.text
    with told_in_one_line(tmp_path):
        pass
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    assert caplog.text  # and other failures are heard again
