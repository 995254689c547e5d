"""What every launcher shares: the command to start, what it refuses, and printing or submitting.

A launcher is called with its own flags first and the synthdiv command after them:

    python launch/slurm.py --nodes=4 pretrain --config=configs/pretrain/350m.gin --workdir=DIR
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import flags

from synthdiv.cli import COMMANDS, PAUSED_EXIT
from synthdiv.errors import UserError, closest

FLAGS = flags.FLAGS
flags.DEFINE_bool("help", False, "Print this.", short_name="h")
flags.DEFINE_bool("dry_run", False, "Print what would be submitted and submit nothing.")
flags.DEFINE_string("name", None, "The job's name; by default synthdiv- and the command.")
flags.DEFINE_integer(
    "max_restarts",
    None,
    f"Starts after a clean stop (exit {PAUSED_EXIT}) at most; by default 100 for training and "
    "evaluation, and none for the commands that stop to wait for answers or money.",
    lower_bound=0,
)

# Commands that several processes run together, each told so by --distributed.
SHARED = ("pretrain", "sft", "evaluate")
STUDY = "synthdiv.study"


def is_shared(words: list[str]) -> bool:
    """Whether the command that some words start is one of them."""
    return any(word.removeprefix("synthdiv.") in SHARED for word in words[:3])


def read_command(rest: list[str], processes: int) -> list[str]:
    """Returns the words that start one process, ["python", ...] left to the launcher.

    Args:
        rest: what follows the launcher's own flags: ["pretrain", "--config=...", ...].
        processes: how many of them work together.

    Returns:
        ["-m", "synthdiv.pretrain", "--config=...", ..., "--distributed"].

    Raises:
        UserError: there is no such command, or it does not run as several processes.
    """
    words = rest[1:] if rest[:1] == ["synthdiv"] else rest
    if not words:
        raise UserError("name the command to start, as in: pretrain --config=... --workdir=...")
    command, *arguments = words
    if command not in COMMANDS:
        raise UserError(f"no command {command!r}{closest(command, list(COMMANDS))}")
    if processes > 1 and command not in SHARED:
        raise UserError(f"{command} runs as one process; {', '.join(SHARED)} run as several")
    together = ["--distributed"] if processes > 1 and "--distributed" not in arguments else []
    return ["-m", f"synthdiv.{command}", *arguments, *together]


def restarts(words: list[str], saves: bool = False) -> int:
    """How often the job is started again after a clean stop; `saves`: it only stops to save."""
    if FLAGS.max_restarts is not None:
        return FLAGS.max_restarts
    return 100 if saves or is_shared(words) else 0


def job_name(words: list[str]) -> str:
    """The job's name: letters, digits and hyphens, as Slurm, Kubernetes and Cloud TPU all take it.

    Raises:
        UserError: --name has other characters in it.
    """
    name = FLAGS.name or f"synthdiv-{words[1].removeprefix('synthdiv.')}"
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?", name):
        raise UserError(f"--name={name}: use lower-case letters, digits and hyphens, 52 at most")
    return name


def call(words: list[str], text: str | None = None) -> int:
    """Runs an external program with `text` as its input and returns its exit code.

    Raises:
        UserError: the program is not installed here.
    """
    try:
        return subprocess.run(words, input=text, text=True).returncode
    except FileNotFoundError:
        raise UserError(
            f"{words[0]} is not on the PATH here; --dry_run prints what it would be given"
        ) from None


def submit(words: list[str], text: str) -> int:
    """Hands `text` to an external program, or with --dry_run prints both; returns an exit code."""
    if FLAGS.dry_run:
        print(f"# {shlex.join(words)}\n{text}", end="")
        return 0
    return call(words, text)


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Parses the flags and runs the launcher; the user's mistake is one line and exit code 2."""
    FLAGS.set_gnu_getopt(False)  # the flags after the command's name are the command's
    try:
        rest = FLAGS(sys.argv)[1:]
        if FLAGS.help:
            print((sys.modules["__main__"].__doc__ or "").strip() + "\n" + FLAGS.get_help())
            sys.exit(0)
        sys.exit(main(rest))
    except (UserError, flags.Error) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
