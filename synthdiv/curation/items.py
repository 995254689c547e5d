"""Texts that documents must not hold: questions of evaluation tasks, rows of files, prompts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthdiv.config import find
from synthdiv.corpora import sources
from synthdiv.errors import UserError, closest
from synthdiv.evaluation import local_data
from synthdiv.evaluation.local_data import Row

_ALONE = 13  # words of a question that is told from others without its answer
_FIELD = 8  # words of a row's field that stands for itself


@dataclass(frozen=True, slots=True)
class Item:
    """One text to be looked for.

    Attributes:
        source: the task's name, or the file.
        place: file and line or row.
        text: the words.
    """

    source: str
    place: str
    text: str


def _question(question: str, answer: str) -> list[str]:
    """A question, with its answer where it is too short to be told from others."""
    return [question if len(question.split()) >= _ALONE else f"{question} {answer}"]


def _arc(row: Row) -> list[str]:
    choices = row["choices"]
    return _question(row["question"], choices["text"][choices["label"].index(row["answerKey"])])


def _boolq(row: Row) -> list[str]:
    return [row["passage"], *_question(row["question"], "")]


def _social_iqa(row: Row) -> list[str]:
    answer = row["answer" + "ABC"[int(row["label"]) - 1]]
    return _question(f"{row['context']} {row['question']}", answer)


def _winogrande(row: Row) -> list[str]:
    return [row["sentence"].replace("_", row[f"option{row['answer']}"])]


def _piqa(row: Row) -> list[str]:
    return _question(row["goal"], row[f"sol{row['label'] + 1}"])


def _copa(row: Row) -> list[str]:
    return _question(row["premise"], row[f"choice{row['label'] + 1}"])


def _hellaswag(row: Row) -> list[str]:
    context = f"{row['ctx_a']} {row['ctx_b']}".strip()
    return _question(context, row["endings"][int(row["label"])])


def _world_facts(row: Row) -> list[str]:
    return _question(row["question"], row["choices"][row["answer"]])


_TEXTS: dict[str, Callable[[Row], list[str]]] = {
    "arc_challenge": _arc,
    "arc_easy": _arc,
    "boolq": _boolq,
    "social_iqa": _social_iqa,
    "winogrande": _winogrande,
    "piqa": _piqa,
    "copa": _copa,
    "hellaswag": _hellaswag,
    "world_facts": _world_facts,
}


def task_items(data_dir: Path, tasks: Sequence[str] = ()) -> Iterator[Item]:
    """Yields what evaluation tasks ask, of the splits that are scored.

    Args:
        data_dir: directory of data files, as `evaluate` takes it.
        tasks: names; () for those of which a file is there.

    Raises:
        UserError: an unknown task, no file of one that is named or of any, or a broken file.
    """
    for task in tasks:
        if task not in _TEXTS:
            known = ", ".join(_TEXTS)
            raise UserError(
                f"task {task!r} has no local data{closest(task, _TEXTS)}; there are {known}; the "
                "questions of another go into a file for `against`"
            )
    found = 0
    for task in tasks or _TEXTS:
        try:
            splits = local_data.find_splits(data_dir, task)
        except UserError:
            if tasks or not data_dir.is_dir():
                raise
            continue
        found += 1
        for split, path in splits.items():
            if split != "train":
                for line, row in local_data.numbered_rows(path, task):
                    for text in _TEXTS[task](row):
                        yield Item(task, f"{path.name} line {line}", text)
    if not found:
        raise UserError(
            f"no data of any task in {str(data_dir)!r}; there could be of {', '.join(_TEXTS)}"
        )


def file_items(path: str | Path) -> Iterator[Item]:
    """Yields every long text of a file's rows, and what is short in a row as one text.

    Nothing is known of the columns, so that questions, passages and answers all count.

    Args:
        path: whatever a corpus can be read from.

    Raises:
        UserError: there is nothing there, or it has a fault.
    """
    source = sources.find(path)
    found = False
    for where, row in source.rows():
        texts = list(_strings(row))
        long = [text for text in texts if len(text.split()) >= _FIELD]
        short = " ".join(text for text in texts if len(text.split()) < _FIELD)
        for text in filter(None, [*long, short]):
            found = True
            yield Item(source.name, source.place(where), text)
    if not found:
        raise UserError(f"{str(path)!r} has no texts that documents must not hold: it is empty")


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _strings(inner)
        case list() | tuple():
            for inner in value:
                yield from _strings(inner)


_JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_PROMPTS = (".jinja", ".txt", ".md")


def prompt_items(paths: Sequence[str | Path]) -> Iterator[Item]:
    """Yields what prompts say to a writer, without what is filled in.

    Args:
        paths: files, or directories of .jinja, .txt and .md files, as given or in the configs.

    Raises:
        UserError: one of them is not there.
    """
    for given in paths:
        path = find(given)
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            # A text.jinja lays out the document itself, and openings.txt has its own check.
            if file.suffix in _PROMPTS and file.stem not in ("text", "openings"):
                for part in _JINJA.split(file.read_text(encoding="utf-8")):
                    if part.strip():
                        yield Item(f"{file.parent.name}/{file.name}", str(file.name), part)
