"""Reads the data files of the paper's tasks, as they are usually distributed, from a directory.

lm-eval's stock tasks take their questions from the hub. On a machine without a network the same
questions come from files: this module finds a task's file, checks every row, and returns rows
with the fields that the stock task reads. Any fault in a file becomes one line: file:line: what.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError, first_line
from synthdiv.json_lines import json_lines

Row = dict[str, Any]

_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst", ".parquet")
_SPLIT_NAMES = {
    "test": ("test",),
    "validation": ("validation", "val", "valid", "dev"),
    "train": ("train",),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a task's questions are found and how a row becomes what the stock task reads.

    Attributes:
        stems: names that the data set goes by; a file is `STEM_SPLIT.jsonl` or
            `STEM/SPLIT.jsonl` (case, "-" and "_" do not matter), also .json, .gz, .zst, .parquet.
        eval_splits: splits that may be scored, the stock task's own choice first.
        convert: checks one row and returns the stock task's fields; raises _Fault.
    """

    stems: tuple[str, ...]
    eval_splits: tuple[str, ...]
    convert: Callable[[Row], Row]


class _Fault(Exception):
    """What is wrong with one row, in words."""


def _take(row: Row, name: str, kind: type | tuple[type, ...] = str) -> Any:
    if name not in row:
        raise _Fault(f"no field {name!r}; it has {', '.join(map(repr, row)) or 'none'}")
    value = row[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        raise _Fault(f"{name!r} is {type(value).__name__}, not {wanted}")
    if isinstance(value, str) and kind is str and not value.strip():
        raise _Fault(f"{name!r} is empty")
    return value


def _index(row: Row, name: str, count: int, first: int = 0) -> int:
    """An option's number given as an int or as digits, between `first` and the last option."""
    value = _take(row, name, (int, str))
    if isinstance(value, bool) or (isinstance(value, str) and not value.strip().isdigit()):
        raise _Fault(f"{name!r} is {value!r}, not the number of an option")
    if not first <= int(value) < first + count:
        raise _Fault(f"{name!r} is {value}, outside the options {first} to {first + count - 1}")
    return int(value)


def _texts(values: Any, name: str, at_least: int = 2) -> list[str]:
    if not isinstance(values, list) or len(values) < at_least:
        raise _Fault(f"{name!r} is not a list of at least {at_least} options")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise _Fault(f"{name!r} has an option that is empty or not text")
    return values


def _arc(row: Row) -> Row:
    """The hub's fields, or AI2's own release (`question` with `stem` and its list of `choices`)."""
    question = _take(row, "question", (str, dict))
    if isinstance(question, dict):
        options = _take(question, "choices", list)
        if not all(isinstance(option, dict) for option in options):
            raise _Fault("'choices' is not a list of objects with 'text' and 'label'")
        choices = {
            "text": [_take(option, "text") for option in options],
            "label": [_take(option, "label") for option in options],
        }
        question = _take(question, "stem")
    else:
        choices = _take(row, "choices", dict)
    texts = _texts(choices.get("text"), "choices.text")
    labels = _texts(choices.get("label"), "choices.label")
    key = _take(row, "answerKey")
    if len(texts) != len(labels):
        raise _Fault(f"{len(texts)} texts for {len(labels)} labels in 'choices'")
    if key not in labels:
        raise _Fault(f"'answerKey' is {key!r}, outside the options {', '.join(labels)}")
    return {
        "id": str(row.get("id", "")),
        "question": question,
        "choices": {"text": texts, "label": labels},
        "answerKey": key,
    }


def _boolq(row: Row) -> Row:
    """SuperGLUE's fields, or BoolQ's own (`answer` true or false, and maybe the page's `title`).

    SuperGLUE puts the page's title before the passage; so do we if the file has a title.
    """
    passage = _take(row, "passage")
    if title := row.get("title"):
        passage = f"{title} -- {passage}"
    name = "label" if "label" in row else "answer"
    label = _take(row, name, (bool, int))
    if label not in (0, 1):
        raise _Fault(f"{name!r} is {label}, outside the options 0 (no) and 1 (yes)")
    return {"question": _take(row, "question"), "passage": passage, "label": int(label)}


def _social_iqa(row: Row) -> Row:
    return {name: _take(row, name) for name in _SOCIAL_IQA} | {
        "label": str(_index(row, "label", count=3, first=1))
    }


_SOCIAL_IQA = ("context", "question", "answerA", "answerB", "answerC")


def _winogrande(row: Row) -> Row:
    sentence = _take(row, "sentence")
    if "_" not in sentence:
        raise _Fault("'sentence' has no blank '_'")
    return {
        "sentence": sentence,
        "option1": _take(row, "option1"),
        "option2": _take(row, "option2"),
        "answer": str(_index(row, "answer", count=2, first=1)),
    }


def _piqa(row: Row) -> Row:
    return {name: _take(row, name) for name in ("goal", "sol1", "sol2")} | {
        "label": _index(row, "label", count=2)
    }


def _copa(row: Row) -> Row:
    question = _take(row, "question")
    if question not in ("cause", "effect"):
        raise _Fault(f"'question' is {question!r}, not 'cause' or 'effect'")
    return {name: _take(row, name) for name in ("premise", "choice1", "choice2")} | {
        "question": question,
        "label": _index(row, "label", count=2),
    }


# The beginning of the next sentence, in lower case in the part of HellaSwag made from captions.
_BEGUN_SENTENCE = re.compile(r"^(.*[.!?][\"')]*) +([a-z][^.!?]*)$", re.DOTALL)


def _hellaswag(row: Row) -> Row:
    """The original fields, or a file that has kept only `ctx`.

    The stock task capitalizes `ctx_b`, the sentence that the endings continue. Where there is only
    `ctx`, `ctx_b` is what follows its last full stop, if that starts in lower case as in the
    original.
    """
    endings = _texts(_take(row, "endings", list), "endings")
    if "ctx_a" in row:
        ctx_a, ctx_b = _take(row, "ctx_a"), row.get("ctx_b") or ""
    else:
        ctx_a, ctx_b = _take(row, "ctx").strip(), ""
        if begun := _BEGUN_SENTENCE.match(ctx_a):
            ctx_a, ctx_b = begun.groups()
    return {
        "activity_label": _take(row, "activity_label"),
        "ctx_a": ctx_a,
        "ctx_b": ctx_b,
        "endings": endings,
        "label": str(_index(row, "label", count=len(endings))),
    }


def _world_facts(row: Row) -> Row:
    choices = _texts(_take(row, "choices", list), "choices")
    topic = row.get("topic")
    return {
        "question": _take(row, "question"),
        "choices": choices,
        "answer": _index(row, "answer", count=len(choices)),
        "topic": topic if isinstance(topic, str) else json.dumps(topic),
    }


_TEST_FIRST = ("test", "validation")
_VALIDATION = ("validation",)

# By lm-eval's name of the task.
SOURCES = {
    "arc_challenge": Source(("arc_challenge",), _TEST_FIRST, _arc),
    "arc_easy": Source(("arc_easy",), _TEST_FIRST, _arc),
    "boolq": Source(("boolq",), _VALIDATION, _boolq),
    "social_iqa": Source(("social_iqa", "socialiqa", "siqa"), _VALIDATION, _social_iqa),
    "winogrande": Source(("winogrande_xl", "winogrande"), _VALIDATION, _winogrande),
    "piqa": Source(("piqa",), _VALIDATION, _piqa),
    "copa": Source(("copa",), _VALIDATION, _copa),
    "hellaswag": Source(("hellaswag",), _VALIDATION, _hellaswag),
    "world_facts": Source(("world_facts",), ("test",), _world_facts),
}


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _find(data_dir: Path, stem: str, split: str) -> Path | None:
    wanted = {f"{stem}_{name}{ending}" for name in _SPLIT_NAMES[split] for ending in _ENDINGS}
    inside = {f"{name}{ending}" for name in _SPLIT_NAMES[split] for ending in _ENDINGS}
    if split != "train":
        wanted |= {f"{stem}{ending}" for ending in _ENDINGS}
    for path in sorted(data_dir.iterdir()):
        if path.is_file() and _plain(path.name) in wanted:
            return path
        if path.is_dir() and _plain(path.name) == stem:
            for file in sorted(path.iterdir()):
                if _plain(file.name) in inside:
                    return file
    return None


def find_splits(data_dir: Path, task: str) -> dict[str, Path]:
    """Returns a task's files by split: the one that is scored, and "train" where it is there.

    Raises:
        UserError: `data_dir` is no directory, or has no file of this task.
    """
    if not data_dir.is_dir():
        raise UserError(f"no directory {str(data_dir)!r} (`data_dir`)")
    source = SOURCES[task]
    found: dict[str, Path] = {}
    for split in (*source.eval_splits, "train"):
        for stem in source.stems:
            if not (split != "train" and found) and (path := _find(data_dir, stem, split)):
                found.setdefault(split, path)
    if not set(found) & set(source.eval_splits):
        wanted = f"{source.stems[0]}_{source.eval_splits[0]}.jsonl"
        raise UserError(f"no data of task {task!r} in {str(data_dir)!r}: expected {wanted} or .gz")
    return found


def _objects(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows with the number of their line (of the row, in a Parquet file or a JSON array)."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.read_table(path).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: cannot be read: {first_line(error)}") from None
        yield from enumerate(rows, 1)
        return
    yield from json_lines(path)


def read_rows(path: Path, task: str) -> list[Row]:
    """Reads and checks the questions of one file; see `numbered_rows`."""
    return [row for _, row in numbered_rows(path, task)]


def numbered_rows(path: Path, task: str) -> list[tuple[int, Row]]:
    """Reads and checks the questions of one file.

    Args:
        path: a file that `find_splits` has found.
        task: lm-eval's name of the task.

    Returns:
        Rows with exactly the fields that the stock task reads, each with the number of its line (of
        the row, in a Parquet file or a JSON array).

    Raises:
        UserError: file, line and what is wrong (not JSON, a field missing, a label outside the
            options, no rows at all).
    """
    convert = SOURCES[task].convert
    rows = []
    for number, row in _objects(path):
        try:
            rows.append((number, convert(row)))
        except _Fault as fault:
            raise UserError(f"{path} line {number}: {fault}") from None
    if not rows:
        raise UserError(f"{path}: no questions")
    return rows
