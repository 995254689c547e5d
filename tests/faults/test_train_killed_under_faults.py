"""Kill -9 at random moments of training while bits flip and disks fill up: the same to the bit.

KILLS says how many of each command the slow test takes.
"""

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthdiv.model.weights import steps_in
from tests.conftest import QUICKLY_COMPILED
from tests.faults.test_train_killed import ROOT, assert_same_run, logged
from tests.training.conftest import write_tokens

STEPS_A_KILL = 10
EVERY = 5  # steps between two checkpoints
BATCH, LENGTH = 8, 32

# In a namespace of its own the run's directory is a disk with little room.
_LITTLE_ROOM = """
mount -t tmpfs -o size="$SIZE" none "$DISK" || exit 99
cp -a "$WORKDIR/." "$DISK/" && mount --bind "$DISK" "$WORKDIR" || exit 99
"$@"; code=$?
cp -a "$DISK/." "$AFTER/" || exit 99
exit $code
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of both commands, tokens, conversations, and a model to fine-tune."""
    folder = tmp_path_factory.mktemp("faults")
    even, odd = write_tokens(folder)
    shared = f"""
        {{command}}.batch_size = {BATCH}
        {{command}}.log_every = 1
        {{command}}.checkpoint_every = {EVERY}
        {{command}}.tensorboard = False
        {{command}}.compile_cache = "{folder / "xla"}"
        """
    (folder / "pretrain.gin").write_text(
        f"""
        Mixture.sources = (("{even}", 9000), ("{odd}", 5000))
        Model.vocab_size = 512
        Model.hidden = 16
        Model.mlp = 32
        Model.layers = 1
        Model.heads = 2
        Model.max_length = {LENGTH}
        Model.dtype = "float32"
        Model.attention_dropout = 0.1
        Optimizer.learning_rate = 1e-2
        Pretrain.accumulate = 2
        """
        + shared.format(command="Pretrain")
    )
    (folder / "sft.gin").write_text("SFT.attention_dropout = 0.1\n" + shared.format(command="SFT"))
    texts = [json.loads(line)["text"] for line in (folder / "even.jsonl").open()]
    words = [" ".join(text.split()[k : k + 4]) for text in texts for k in range(0, 80, 8)]
    rows = [{"instruction": "go on", "output": each} for each in words]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pretrain(folder: Path, workdir: Path, steps: int) -> list[str]:
    return [
        "synthdiv.pretrain", f"--config={folder / 'pretrain.gin'}", f"--workdir={workdir}",
        f"--bind=Pretrain.tokens={steps * BATCH * LENGTH}",
    ]  # fmt: skip


def sft(folder: Path, workdir: Path, steps: int) -> list[str]:
    model = folder / "model"
    if not model.exists():
        finish(start(pretrain(folder, model, 1)))
    return [
        "synthdiv.sft", f"--config={folder / 'sft.gin'}", f"--workdir={workdir}",
        f"--init_from={model}", f"--input={folder / 'asked.jsonl'}",
        f"--bind=SFT.epochs={-(-steps // 13)}",
    ]  # fmt: skip


def start(arguments: list[str], *before: str, **environment: str) -> subprocess.Popen[str]:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [*before, sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | flags | QUICKLY_COMPILED | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def steps_done(workdir: Path) -> int:
    lines = logged(workdir)
    return lines[-1]["step"] if lines else 0


def stop(process: subprocess.Popen[str], workdir: Path, draw: random.Random, how: int) -> str:
    """Sends a signal at a random moment: while the run starts, or some steps after it has."""
    before, begun = steps_done(workdir), time.monotonic()
    target = before + draw.randint(1, STEPS_A_KILL)
    soon = draw.uniform(0, 8) if draw.random() < 0.2 else 300
    while process.poll() is None and time.monotonic() - begun < soon:
        now = steps_done(workdir)
        before = min(before, now)  # it goes back to a checkpoint
        if now > before and now >= target:
            time.sleep(draw.random() * 0.05)
            break
        time.sleep(0.005)
    process.send_signal(how)
    return process.communicate(timeout=300)[1]


def flip_a_bit(workdir: Path, draw: random.Random) -> bool:
    """Changes one bit of the newest checkpoint, in any file of it or where most of its bits are."""
    steps = steps_in(workdir / "checkpoints")
    if len(steps) < 2:
        return False
    newest = workdir / "checkpoints" / str(steps[-1])
    files = sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size)
    sizes = [p.stat().st_size for p in files]
    file = draw.choices(files, sizes if draw.random() < 0.5 else None)[0]
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    return True


def on_a_full_disk(arguments: list[str], workdir: Path, room: int) -> tuple[int, str]:
    """Runs where there are `room` bytes for more; (99, ...) where no disk can be mounted."""
    for half in (workdir / "checkpoints").glob("*tmp*"):  # of a kill; it would be room for a whole
        shutil.rmtree(half)
    taken = sum(p.stat().st_size // 4096 * 4096 + 4096 for p in workdir.rglob("*") if p.is_file())
    disk, after = (workdir.with_name(workdir.name + end) for end in ("-disk", "-after"))
    for each in (workdir, disk, after):
        each.mkdir(exist_ok=True)
    places = {"DISK": str(disk), "WORKDIR": str(workdir), "AFTER": str(after)}
    enter = ["unshare", "--map-root-user", "--mount", "sh", "-c", _LITTLE_ROOM, "sh"]
    process = start(arguments, *enter, **places, SIZE=str(taken + room))
    said = process.communicate(timeout=600)[1]
    if process.returncode != 99:
        shutil.rmtree(workdir)
        after.rename(workdir)
    shutil.rmtree(disk)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("command", [pretrain, sft])
def test_the_same_bits_after_many_kills_under_faults(folder, tmp_path, command) -> None:
    kills, draw = int(os.environ.get("KILLS", "50")), random.Random(5)
    steps, met, told = STEPS_A_KILL * kills, collections.Counter[str](), ""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(command(folder, whole, steps)))
    arguments = command(folder, killed, steps)
    while met["kills"] < kills:
        fault = draw.choice(["", "", "flipped bits", "full disks", "terminations"])
        if fault == "flipped bits":
            met[fault] += flip_a_bit(killed, draw)
        if fault == "full disks" and shutil.which("unshare"):
            code, said = on_a_full_disk(arguments, killed, draw.randrange(100_000))
            assert code in (75, 99), said
            met[fault] += code == 75
        elif fault == "terminations":
            process = start(arguments)
            said = stop(process, killed, draw, signal.SIGTERM)
            assert process.returncode in (75, -signal.SIGTERM), said
            met[fault] += 1
        else:
            process = start(arguments)
            said = stop(process, killed, draw, signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL, f"it ended before it was killed: {said}"
            met["kills"] += 1
        told += said
    told += finish(start(arguments))
    assert "Traceback" not in told
    assert_same_run(whole, killed)
    met["checkpoints set aside"] = told.count("is set aside as")
    print(command.__name__, json.dumps({"steps": steps_done(killed)} | met))
