"""A study from topics to figure: its stages, run where and when they can be, and its results.

Everything is kept in the study's directory: one folder for each cell, `shared/` for what the cells
have in common, and in the end `study.json`, `report.html` and the figures. Each stage is done once;
a study that was interrupted continues where it stopped, and one whose settings were changed does
again what depends on them.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from synthdiv import __version__, files
from synthdiv.claims import FINGERPRINT, AtWork, differences, locked
from synthdiv.errors import UserError
from synthdiv.progress import say
from synthdiv.study.config import WORLD, Plan
from synthdiv.study.graph import TOKENIZER, make_graph
from synthdiv.study.inputs import inputs_of
from synthdiv.study.processes import Ended, Processes
from synthdiv.study.report import write_report
from synthdiv.study.results import collect
from synthdiv.study.schedule import do_stage, run_stages
from synthdiv.study.stages import Stage, Stages, State, bindings_of

_PATIENCE_S = 10.0  # for another process that has just begun the same study
_LISTED = 40  # stages
_SAME = State(True)


def run_study(
    plan: Plan,
    workdir: str | Path,
    command: str,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
) -> dict[str, Any] | None:
    """Runs a study, or goes on with it, and writes its results.

    Any number of processes may run the same study in one directory, each a shard of it.

    Args:
        plan: what to study.
        workdir: where.
        command: the command line, which the report repeats.
        jobs: stages done side by side, each in a process with its share of cores and devices.
        shard: (K, N) does the K-th of N parts of the training runs, with what they need.

    Returns:
        The content of `study.json` (its keys: docs/formats.md); None where a shard is done and
        others are not.

    Raises:
        UserError: an input is missing or unusable, or other settings are at work in the directory.
        Paused: a backend is waiting for answers, a budget is spent, or SIGTERM came.
    """
    workdir = Path(workdir)
    check_tasks(plan)
    inputs = inputs_of(plan)
    files.output_dir(workdir)
    with _joined(workdir, plan, inputs):
        stages = make_graph(plan, workdir, inputs)
        _adopt(stages)
        stages.forget_lost()
        stages.check_results()
        wanted = of_shard(stages, shard)
        for line in outlook(stages, wanted):
            say(line)
        do = partial(_do_named, plan, workdir, inputs)
        run_stages(stages, wanted, Processes(do, jobs) if jobs > 1 else None)
        missing = [stage.name for stage in stages.stages if not stages.is_done(stage)]
        if missing:
            say(f"this shard is done; {len(missing)} stages are for others, such as {missing[0]}")
            return None
        return _gather(plan, stages, command)


def _do_named(plan: Plan, workdir: Path, inputs: Mapping[str, str], name: str) -> Ended:
    """Does one stage in a process of its own."""
    stages = make_graph(plan, workdir, inputs)
    return do_stage(stages, stages.by_name[name])


def read_shard(words: str | None) -> tuple[int, int] | None:
    """Returns (K, N) of "K/N"; None of nothing.

    Raises:
        UserError: it is no such part.
    """
    if words is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", words)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard is K/N, one of 1/N to N/N, not {words!r}")
    return int(found[1]), int(found[2])


def of_shard(stages: Stages, shard: tuple[int, int] | None) -> Sequence[Stage]:
    """The stages of a shard of the training runs and all that they need; all without one.

    What no run needs, as a score, goes to the shards in turn.
    """
    if shard is None:
        return stages.stages
    number, count = shard
    needed = {name for stage in stages.stages for name in stage.needs}
    wanted: set[str] = set()
    idle = 0
    for stage in stages.stages:
        if stage.run is not None:
            mine = stage.run % count == number - 1
        elif stage.name in needed:
            continue
        else:
            mine, idle = idle % count == number - 1, idle + 1
        if mine:
            wanted.add(stage.name)
    for stage in reversed(stages.stages):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in stages.stages if stage.name in wanted]


def outlook(stages: Stages, wanted: Sequence[Stage]) -> list[str]:
    """Says in lines what is done, what is left, and what is done again and why."""
    states = {stage.name: stages.state(stage) for stage in wanted}
    left = [name for name, state in states.items() if not state.done]
    if not left:
        return [f"nothing to do: all {len(wanted)} stages are done"]
    again = [name for name in left if states[name].why]
    lines = [f"{len(wanted)} stages: {len(wanted) - len(left)} done, {len(left)} to do"]
    if again:
        lines[0] += (
            f", {len(again)} of them again; what they made before goes to "
            f"{stages.workdir / 'replaced'}"
        )
    lines += [f"again: {name} ({states[name].why})" for name in again[:_LISTED]]
    if len(again) > _LISTED:
        lines.append(f"again: {len(again) - _LISTED} more")
    if ": generate" in states.get(TOKENIZER, _SAME).why:
        lines.append(
            "every model hangs on every corpus that the tokenizer is trained on: "
            "Study.tokenizer_from or Tokenizer.path keeps them apart"
        )
    return lines


def check_tasks(plan: Plan) -> None:
    """Refuses tasks whose questions cannot be had, before anything is done.

    Raises:
        UserError: an unknown task, or data files that are missing or broken.
    """
    from synthdiv.evaluation.tasks import check_data

    if not plan.config.tasks and not plan.config.heldout:
        raise UserError("Study.tasks and Study.heldout are empty: models are judged by nothing")
    data_dir = plan.config.data_dir
    others = [task for task in plan.config.tasks if data_dir or task != WORLD]
    if len(others) < len(plan.config.tasks) and others:
        raise UserError(
            f"Study.tasks has {WORLD!r}, whose questions a study makes, beside {others[0]!r}: bind "
            "Study.data_dir to a directory with the files of all tasks, or take the one away"
        )
    if others:
        check_data(others, Path(data_dir) if data_dir else None, plan.evaluate.num_fewshot)


def _gather(plan: Plan, stages: Stages, command: str) -> dict[str, Any]:
    """Writes the results of a study whose stages are all done."""
    workdir = stages.workdir
    study = collect(plan, workdir) | {
        "command": command,
        "synthdiv_version": __version__,
        "seconds": round(stages.seconds, 1),
    }
    files.write_json(workdir / "study.json", study)
    write_report(workdir, study)
    say(f"report: {workdir / 'report.html'}")
    return study


def _adopt(stages: Stages) -> None:
    """Takes over the log of a version that had no graph."""
    log = stages.workdir / "stages.json"
    if log.exists():
        with locked(stages.workdir / f".{FINGERPRINT}.lock", stages.workdir):
            stages.adopt(files.read_json(log))
            log.rename(stages.workdir / "stages" / "earlier.json.txt")


@contextlib.contextmanager
def _joined(workdir: Path, plan: Plan, inputs: Mapping[str, str]) -> Iterator[None]:
    """Holds the directory together with others that run the same study.

    Raises:
        AtWork: they run it with other settings.
    """
    work = {"settings": bindings_of(plan.settings), "inputs": dict(inputs)}
    record = workdir / FINGERPRINT
    try:
        import fcntl
    except ImportError:  # a system without POSIX locks
        _enter(workdir, plan, work)
        yield
        return
    with open(workdir / ".study.lock", "a+") as lock:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            same = record.exists() and not differences(files.read_json(record), work)
            kind = fcntl.LOCK_SH if same else fcntl.LOCK_EX
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.lockf(lock, kind | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                changed = differences(files.read_json(record), work) if record.exists() else []
                raise AtWork(
                    f"another process is at work in {str(workdir)!r} with other settings "
                    f"({'; '.join(changed[:3])}): wait for it, or take another directory"
                )
            time.sleep(0.2)
        if not same:
            _enter(workdir, plan, work)
            fcntl.lockf(lock, fcntl.LOCK_SH)
        yield


def _enter(workdir: Path, plan: Plan, work: Mapping[str, Any]) -> None:
    """Writes down what the directory holds from now on.

    Raises:
        UserError: an earlier version has begun another study there.
    """
    record = workdir / FINGERPRINT
    if (workdir / "stages.json").exists() and record.exists():
        before = files.read_json(record)
        # It hashed files that no stage reads, as well.
        inputs = {name: sha for name, sha in before["inputs"].items() if name in work["inputs"]}
        changed = differences(before | {"inputs": inputs}, work)
        if changed:
            raise UserError(
                f"{str(workdir)!r} holds another study, begun by an earlier version "
                f"({'; '.join(changed[:3])}): take another directory, or remove that one"
            )
    files.write_json(record, work)
    files.write_text(workdir / "study.gin", plan.settings)
