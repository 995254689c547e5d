"""lm-eval's tasks, with the paper's suite as one group and their questions from local files.

Task definitions are the stock ones; where `data_dir` has a task's file, only the source of its
questions is replaced. `world_facts` is our own task: it asks about the offline writer's world.
"""

import contextlib
import dataclasses
import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.errors import UserError, closest
from synthdiv.evaluation import local_data

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

PAPER = "synthdiv_paper"

# The paper's suite (section 3.1) and the metric that it reports of each task.
PAPER_METRICS = {
    "arc_challenge": "acc_norm",
    "arc_easy": "acc",
    "boolq": "acc",
    "social_iqa": "acc",
    "winogrande": "acc",
    "piqa": "acc",
    "copa": "acc",
    "hellaswag": "acc_norm",
}

# Where lm-eval keeps the stock definitions; indexing its thousands of tasks takes seconds.
_STOCK = {
    "arc_challenge": "arc/arc_challenge.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "social_iqa": "siqa/siqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "piqa": "piqa/piqa.yaml",
    "copa": "super_glue/copa/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
}

WORLD_FACTS = {
    "task": "world_facts",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
    "metadata": {"version": 1.0},
}


@dataclasses.dataclass(frozen=True)
class Tasks:
    """Tasks that are ready to run.

    Attributes:
        loaded: what lm-eval's evaluator takes: tasks and groups by name.
        files: the local file behind each task that has one.
        places: for each such task, where each of its questions was read: "file:line".
    """

    loaded: dict[str, Any]
    files: dict[str, Path]
    places: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """The tasks, including those of groups."""
        return list(self.loaded["tasks"])


def load_tasks(
    names: list[str],
    data_dir: Path | None,
    num_fewshot: int | None = None,
    include_path: str | Path | None = None,
) -> Tasks:
    """Loads tasks by name.

    Args:
        names: `synthdiv_paper`, `world_facts`, any task, group or tag of lm-eval (`*` stands for
            anything), or the path of a task's YAML file.
        data_dir: directory of data files; tasks without one there come from the hub or its cache.
        num_fewshot: examples before each question; None: as each task's definition says.
        include_path: directory of more definitions, which may be asked for by name.

    Raises:
        UserError: an unknown name, no such directory, a missing or broken data file, or questions
            that neither `data_dir` nor the hub's cache nor the network gives.
    """
    from lm_eval.api.group import Group

    if not names:
        raise UserError("no tasks (`tasks`)")
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}
    files: dict[str, Path] = {}
    places: dict[str, list[str]] = {}
    stock: list[str] = []
    for name in names:
        if name != PAPER:
            members = [name]
        else:
            members = list(PAPER_METRICS)
            groups[PAPER] = Group(name=PAPER)
        for member in members:
            if member in tasks:
                continue
            if member == "world_facts" and data_dir is None:
                raise UserError("task 'world_facts' needs `data_dir`, with world_facts.jsonl in it")
            if data_dir is None or member not in local_data.SOURCES:
                stock.append(member)
                continue
            task, path, lines = _local_task(member, data_dir, num_fewshot)
            tasks[member], files[member] = task, path
            places[member] = [f"{path} line {line}" for line in lines]
    if stock:
        loaded = _stock_tasks(list(dict.fromkeys(stock)), include_path)
        tasks |= loaded["tasks"]
        groups |= loaded.get("groups", {})
    if PAPER in groups:
        for member in PAPER_METRICS:
            groups[PAPER].add(tasks[member])
    for task in tasks.values():
        own = task.get_config("num_fewshot")
        if own is None or (num_fewshot is not None and own != 0):  # its own 0 stays, as in lm-eval
            task.set_config("num_fewshot", num_fewshot or 0)
        task.set_fewshot_seed(seed=1234)  # lm-eval's own default
    group_map = {group.name: group.child_names for group in groups.values()}
    return Tasks({"tasks": tasks, "groups": groups, "group_map": group_map}, files, places)


def check_data(names: list[str], data_dir: Path | None, num_fewshot: int | None = None) -> None:
    """Refuses tasks whose questions cannot be had; reads local files without loading lm-eval.

    Raises:
        UserError: as `load_tasks`.
    """
    every = [one for name in names for one in (PAPER_METRICS if name == PAPER else [name])]
    local = [name for name in every if data_dir is not None and name in local_data.SOURCES]
    for name in local:
        assert data_dir is not None
        for path in local_data.find_splits(data_dir, name).values():
            local_data.numbered_rows(path, name)
    if others := [name for name in every if name not in local]:
        load_tasks(others, data_dir, num_fewshot)


def _definition(name: str) -> dict[str, Any]:
    if name == "world_facts":
        return dict(WORLD_FACTS)
    from lm_eval.tasks._yaml_loader import load_yaml

    path = _stock_folder() / _STOCK[name]
    if not path.exists():
        path = _stock_index().task_index[name].yaml_path
    config = load_yaml(path, resolve_func=True)
    return {key: value for key, value in config.items() if key != "tag"}


def _stock_folder() -> Path:
    import lm_eval

    return Path(lm_eval.__file__).parent / "tasks"


@functools.cache
def _definitions(folder: Path) -> str:
    """The text of a folder's definitions, in which every task's name stands as it is.

    To read lm-eval's own takes a tenth of the time that its index does.
    """
    paths = folder.rglob("*.yaml")
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


@functools.cache
def _stock_index(include_path: str | None = None) -> "TaskManager":
    """All of lm-eval's tasks, and those of a directory.

    Reading their thousands of files takes seconds, once per process.
    """
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path)


def _local_task(
    name: str, data_dir: Path, num_fewshot: int | None
) -> "tuple[Task, Path, list[int]]":
    """The stock task `name` with a file of `data_dir` as its source, the file, and its lines."""
    import datasets
    from lm_eval.api.task import ConfigurableTask

    splits = local_data.find_splits(data_dir, name)
    if num_fewshot and "train" not in splits:
        raise UserError(
            f"task {name!r} with num_fewshot={num_fewshot} takes its examples from a train file, "
            f"and {str(data_dir)!r} has none"
        )
    scored = next(split for split in splits if split != "train")
    rows = {split: local_data.numbered_rows(path, name) for split, path in splits.items()}
    data = {
        split: datasets.Dataset.from_list([row for _, row in numbered])
        for split, numbered in rows.items()
    }

    class LocalTask(ConfigurableTask):
        """A stock task whose questions come from a file and are prepared once."""

        def download(self, *unused: Any, **unused_too: Any) -> None:
            prepare = self.config.process_docs or (lambda rows: rows)
            self.dataset = {split: prepare(rows) for split, rows in data.items()}

        def training_docs(self) -> Any:
            return self.dataset["train"]

        def validation_docs(self) -> Any:
            return self.dataset["validation"]

        def test_docs(self) -> Any:
            return self.dataset["test"]

    config = _definition(name) | {
        "training_split": "train" if "train" in splits else None,
        "validation_split": "validation" if scored == "validation" else None,
        "test_split": "test" if scored == "test" else None,
    }
    datasets.disable_progress_bars()
    try:
        with quiet(logging.ERROR):  # the stock files leave some aggregations to the default
            task = LocalTask(config=config)
    finally:
        datasets.enable_progress_bars()
    return task, splits[scored], [number for number, _ in rows[scored]]


def _stock_tasks(names: list[str], include_path: str | Path | None) -> dict[str, Any]:
    if include_path is not None and not Path(include_path).is_dir():
        raise UserError(f"`include_path={include_path}` is no directory of task definitions")
    from lm_eval.tasks import TaskManager

    files = [_stock_folder() / _STOCK[name] for name in names if name in _STOCK]
    if include_path is None and len(files) == len(names) and all(map(Path.exists, files)):
        manager, chosen = TaskManager(include_defaults=False), [str(path) for path in files]
    else:
        folders = [*([Path(include_path)] if include_path else []), _stock_folder()]
        for name in names:
            named = any(name in _definitions(folder) for folder in folders)
            if not (named or "*" in name or Path(name).is_file()):
                raise _no_task(name, folders)
        manager, chosen = _stock_index(str(include_path) if include_path else None), []
        for name in names:
            matching = manager.match_tasks([name]) if "*" in name else [name]
            if not matching or not (matching[0] in manager.task_index or Path(name).is_file()):
                raise _no_task(name, folders)
            chosen += matching
    try:
        return manager.load(chosen)
    except UserError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"cannot load tasks {', '.join(names)}: {lines[0]}. Without a network, give `data_dir` "
            "or fill the hub's cache first"
        ) from error


def _no_task(name: str, folders: list[Path]) -> UserError:
    told = re.compile(r"^(?:task|group|tag): *['\"]?([\w.-]+)", re.MULTILINE)
    known = [found for folder in folders for found in told.findall(_definitions(folder))]
    alike = closest(name, [*known, PAPER, "world_facts"])
    return UserError(f"no task {name!r} in lm-eval{alike}")


@contextlib.contextmanager
def quiet(level: int = logging.WARNING) -> Iterator[None]:
    """Silences lm-eval's own progress bars, and its logs below `level`."""
    from lm_eval.api import task

    bar = task.tqdm
    logger = logging.getLogger("lm_eval")
    before = logger.level
    task.tqdm = lambda rows, **unused: rows
    logger.setLevel(max(before, level))
    try:
        yield
    finally:
        task.tqdm = bar
        logger.setLevel(before)
