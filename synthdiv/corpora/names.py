"""What a corpus is called, and how several are written in one flag."""

import os
from collections.abc import Sequence
from pathlib import Path

from synthdiv.errors import UserError

_OURS = {
    *("fingerprint.json", "answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm"),
    *(
        "comparison.json",
        "criteria.json",
        "score.json",
        "rounds.parquet",
        "documents.parquet",
        "values.parquet",
    ),
    *("report.html", "partial.json", "manifest.json"),
}
_LONGEST = 255  # bytes of a file's name
_PLAIN = "corpus"  # what `synthdiv generate` and a study call a corpus's directory


def corpus_name(path: Path) -> str:
    """Returns the file's or directory's name without its endings; `X/corpus` is called X."""
    given = [part for part in path.parts if part not in (".", path.anchor)]
    if not given or given[-1] == "..":
        given = list(path.resolve().parts[1:])
    name = _bare(given[-1]) if given else ""
    if given[-1:] == [_PLAIN] and len(given) > 1 and given[-2] != "..":
        return _bare(given[-2]) or name
    return name or _PLAIN


def _bare(name: str) -> str:
    return name.lstrip(".").split(".")[0]


def check_names(names: Sequence[str], corpora: int) -> list[str]:
    """Returns the names that were given to corpora.

    Raises:
        UserError: there are more or fewer than corpora, two are alike, or one cannot be the name of
            a directory, or is that of a file which lies beside it.
    """
    if len(names) != corpora:
        raise UserError(f"{len(names)} names for {corpora} corpora: give one each")
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"{name!r} cannot be the name of a corpus: a name is text")
        if not name or name.startswith(".") or {"/", "\\", "\0"} & set(name):
            raise UserError(f"{name!r} cannot be the name of a corpus, whose directory it becomes")
        if len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
            raise UserError(f"{name[:20]!r}... is too long for the name of a corpus's directory")
        if name.casefold() in _OURS:
            raise UserError(f"{name!r} cannot be the name of a corpus: a file of ours is called so")
        if names.count(name) > 1:
            raise UserError(f"two corpora are called {name!r}: give each a name of its own")
    return list(names)


def tell_apart(paths: Sequence[Path]) -> list[str]:
    """Returns the shortest distinct names of paths: the last part, or as many as it takes.

    Equal paths stay equal.
    """
    longest = max((len(path.parts) for path in paths), default=0)
    names: list[str] = []
    for depth in range(1, longest + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def numbered(names: Sequence[str]) -> list[str]:
    """Returns the names, with a number behind each that an earlier one has: a, a_2, a_3."""
    distinct: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in distinct:
            candidate, number = f"{name}_{number}", number + 1
        distinct.append(candidate)
    return distinct


def split_paths(text: str) -> list[str]:
    """Returns the paths of a list written with commas; one that exists may hold commas itself."""
    parts = text.split(",")
    paths: list[str] = []
    while parts:
        longest = next(
            (n for n in range(len(parts), 1, -1) if os.path.exists(",".join(parts[:n]))), 1
        )
        paths.append(",".join(parts[:longest]).strip())
        del parts[:longest]
    return [path for path in paths if path]
