"""What every launcher shares: the command to start, what it refuses, and printing or submitting.

A launcher is called with its own flags first and the synthdiv command after them:

    python launch/slurm.py --nodes=4 pretrain --config=configs/pretrain/350m.gin --workdir=DIR
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from absl import flags

from synthdiv.cli import COMMANDS, PAUSED_EXIT
from synthdiv.errors import UserError, closest

FLAGS = flags.FLAGS
flags.DEFINE_bool("help", False, "Print this.", short_name="h")
flags.DEFINE_bool("dry_run", False, "Print what would be submitted and submit nothing.")
flags.DEFINE_string("name", None, "The job's name, by default synthdiv-COMMAND.")
flags.DEFINE_integer(
    "max_restarts",
    None,
    f"Starts after exit {PAUSED_EXIT}: 100 for what trains and evaluates, else none.",
    lower_bound=0,
)

# Commands that several processes run together, each told so by --distributed.
SHARED = ("pretrain", "sft", "evaluate")
# Commands that run models in JAX; an accelerator is of no use to any other.
ACCELERATED = (*SHARED, "sample", "study")


def command_of(words: list[str]) -> str:
    """The name of the command in ["synthdiv", NAME, ...], [NAME, ...] or ["-m", MODULE, ...]."""
    names = (word.removeprefix("synthdiv.") for word in words[:2])
    return next((name for name in names if name in COMMANDS), "")


def is_shared(words: list[str]) -> bool:
    """Whether several processes run the command together."""
    return command_of(words) in SHARED


def array_flags(kind: str) -> None:
    """Adds the flags that share a study out to several jobs, which the launcher calls `kind`."""
    flags.DEFINE_integer("array", 0, f"{kind} that share a study's runs.", lower_bound=0)
    flags.DEFINE_integer("at_once", None, f"{kind} of them at once, by default all.", lower_bound=1)


def check_array(words: list[str]) -> None:
    """Refuses what --array cannot share out.

    Raises:
        UserError: the command is no study, or is one of a shard already.
    """
    if FLAGS.at_once and not FLAGS.array:
        raise UserError("--at_once bounds the jobs of an --array, and none was asked for")
    if FLAGS.array and command_of(words) != "study":
        raise UserError(f"--array shares out the runs of a study; {command_of(words)} has none")
    if FLAGS.array and any(word.startswith("--shard") for word in words):
        raise UserError("--array gives each job its --shard: leave it out")


def warn_of(accelerators: bool, words: list[str], flag: str) -> None:
    """Says on stderr where a model would train on a CPU, or an accelerator would idle."""
    command = command_of(words)
    if command in ACCELERATED and not accelerators:
        print(f"warning: {command} without {flag} runs on the CPU", file=sys.stderr)
    if command not in ACCELERATED and accelerators:
        print(f"warning: {command} uses no accelerator; leave {flag} out", file=sys.stderr)


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
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise UserError(f"--name={name}: use lower-case letters, digits and hyphens, 40 at most")
    return name


def found(words: list[str]) -> list[str]:
    """`words`, a call of an external program, if the program is there.

    Raises:
        UserError: it is not installed here.
    """
    if shutil.which(words[0]) is None:
        raise UserError(
            f"{words[0]} is not on the PATH here; --dry_run prints what it would be given"
        )
    return words


def show(mark: str, stream: Iterable[str]) -> None:
    """Copies a process's output line by line, each after a mark of whose it is."""
    for line in stream:
        print(f"{mark}{line}", end="", flush=True)


def flags_help() -> str:
    """All flags of the launcher, a line each, with their defaults where these are short."""
    lines = ["Flags, before the command:"]
    for name in sorted(set(FLAGS) - {"flagfile", "undefok", "h"}):
        flag = FLAGS[name]
        default = "" if flag.boolean or not flag.default else f" [{flag.default}]"
        written = f"--[no]{name}" if flag.boolean else f"--{name}"
        text = re.sub(r";\s*repeat this option.*", " May be repeated.", flag.help, flags=re.DOTALL)
        lines.append(f"  {written:<18} {text}{default if len(default) < 30 else ''}")
    return "\n".join(lines)


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Parses the flags and runs the launcher; the user's mistake is one line and exit code 2."""
    FLAGS.set_gnu_getopt(False)  # the flags after the command's name are the command's
    try:
        rest = FLAGS(sys.argv)[1:]
        if FLAGS.help:
            print(f"{(sys.modules['__main__'].__doc__ or '').strip()}\n\n{flags_help()}")
            sys.exit(0)
        sys.exit(main(rest))
    except (UserError, flags.Error) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
