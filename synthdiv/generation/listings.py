"""Topics that somebody has listed already: plain lists, outlines, tables, trees; no model is asked.

list      text, a topic a line; levels apart by ">" or "/", the broadest first
tree      text, an outline: what is indented lies under the line before; its leaves are topics
table     CSV, JSON lines or Parquet: `topic` (or `title`, `name`), above it `path` (a list, or
          text as in a list) or `level1`, `level2`, ... or `domain`, `field`, `subfield`; and
          `keywords` (a list, or text with ";" or "," between). OpenAlex's topics and WordNet's
          nouns as JSON lines are such tables, and so are topic seeds.
nested    JSON: {"Field/Part/Topic": [keywords]}, or objects in objects, as deep as they go
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.corpora import formats
from synthdiv.errors import UserError, closest
from synthdiv.generation.merging import Found
from synthdiv.generation.topics import Topic
from synthdiv.json_lines import encodable, open_bytes, parse_json, text_lines

PAGES = "pages"
KINDS = ("list", "tree", "table", "nested")
_NAMES = ("topic", "title", "name")
_ABOVE = ("domain", "field", "subfield")
_LEVELS = 5  # of a path; of a longer one the first two and the last three stay
_BULLET = re.compile(r"^[-*+\u2022\u2013]\s+")


def kind_of(path: Path, text_column: str = "text") -> str:
    """What a file looks like: one of `KINDS`, or "pages", whose text is in a column."""
    ending = formats.ending(path) if path.is_file() else None
    if ending == ".txt":
        lines = [line for _, line in zip(range(1000), _lines(path), strict=False)]
        if any(line[1][:1].isspace() or _BULLET.match(line[1]) for line in lines):
            return "tree"
        # Pages in a text file are paragraphs; in a list no line is one.
        return "list" if lines and max(len(text) for _, text in lines) < 150 else PAGES
    if ending == ".json" and _begins(path) == "{":
        return "nested" if not _is_table(_row(path), text_column) else "table"
    if ending in (".json", ".jsonl", ".csv", ".parquet", ".arrow"):
        return "table" if _is_table(_row(path), text_column) else PAGES
    return PAGES


def read_listings(
    paths: Sequence[str], kind: str | None, text_column: str = "text"
) -> tuple[list[Found], str | None]:
    """Reads all files that list topics; the one that is pages is left to others.

    Args:
        paths: of files, or of a corpus.
        kind: of all of them, one of `KINDS` or "pages"; None for what each looks like.
        text_column: where pages have their text.

    Raises:
        UserError: two are pages; or as `read_listing`.
    """
    listed: list[Found] = []
    pages: list[str] = []
    for path in paths:
        looks = kind or kind_of(Path(path), text_column)
        if looks == PAGES:
            pages.append(path)
        else:
            listed += read_listing(Path(path), looks)
    if len(pages) > 1:
        raise UserError("one corpus of pages at once; a directory or pattern may hold several")
    return listed, pages[0] if pages else None


def read_listing(path: Path, kind: str) -> Iterator[Found]:
    """Reads listed topics, each with its file and line as its source.

    Args:
        path: the file.
        kind: one of `KINDS`.

    Raises:
        UserError: there is no such kind, or the file is not of it or holds no topic.
    """
    readers = {"list": _listed, "tree": _outline, "table": _table, "nested": _nested}
    if kind not in readers:
        raise UserError(f"topics come from {', '.join((PAGES, *readers))}, not {kind!r}"
                        f"{closest(kind, [PAGES, *readers])}")  # fmt: skip
    empty = True
    for where, levels, keywords in readers[kind](path):
        topic = as_topic(levels, keywords)
        if topic is not None:
            empty = False
            yield Found(topic, (f"{path.name}:{where}",))
    if empty:
        raise UserError(f"{path} holds no topics, read as a {kind}")


def as_topic(levels: Sequence[str], keywords: Sequence[str]) -> Topic | None:
    """A topic made fit for a topics file; None where nothing is left of it."""
    plain = [" ".join(re.sub(r"[/\x00-\x1f\s]+", " ", level).split()) for level in levels]
    path = [level for level in plain if level]
    if len(path) > _LEVELS:
        path = path[:2] + path[-3:]
    words = [" ".join(re.sub(r"[;\x00-\x1f\s]+", " ", word).split()) for word in keywords]
    return Topic(tuple(path), tuple(dict.fromkeys(filter(None, words)))) if path else None


_Listed = Iterator[tuple[int | str, Sequence[str], Sequence[str]]]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in text_lines(path):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.rstrip()


def _split(path: str) -> list[str]:
    return [level.strip() for level in re.split(r"\s*>\s*|/|\t", path)]


def _listed(path: Path) -> _Listed:
    for number, line in _lines(path):
        yield number, _split(_BULLET.sub("", line.strip())), ()


def _outline(path: Path) -> _Listed:
    above: list[tuple[int, str]] = []  # how far in each level begins, and its name
    leaf: int | None = None
    for number, line in _lines(path):
        depth = len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip())
        if leaf is not None and depth <= above[-1][0]:
            yield leaf, [name for _, name in above], ()
        while above and above[-1][0] >= depth:
            above.pop()
        above.append((depth, _BULLET.sub("", line.strip())))
        leaf = number
    if leaf is not None:
        yield leaf, [name for _, name in above], ()


def _row(path: Path) -> Mapping[str, Any]:
    try:
        return next(formats.numbered_rows(path), (0, {}))[1]
    except UserError:
        return {}


def _is_table(row: Mapping[str, Any], text_column: str) -> bool:
    if text_column in row:
        return False
    return "path" in row or any(name in row for name in (*_NAMES, "level1"))


def _table(path: Path) -> _Listed:
    for number, row in formats.numbered_rows(path):
        row = encodable(row)
        above = row.get("path")
        if isinstance(above, str):
            above = _split(above)
        if above is None:
            numbered = (row.get(f"level{n}") for n in range(1, 10))
            above = [*(row.get(name) for name in _ABOVE), *numbered]
        name = next((row[name] for name in _NAMES if row.get(name)), None)
        words = row.get("keywords") or []
        if isinstance(words, str):
            words = re.split(r"\s*[;|]\s*", words) if re.search("[;|]", words) else words.split(",")
        levels = [level for level in (*above, name) if level]
        if not isinstance(words, list) or not all(isinstance(t, str) for t in (*levels, *words)):
            raise UserError(f"{formats.place(path, number)}: levels and keywords are texts")
        if not levels:
            known = ", ".join(map(repr, row))
            raise UserError(f"{formats.place(path, number)} names no topic; it has {known}")
        yield number, levels, words


def _begins(path: Path) -> str:
    with open_bytes(path) as file:
        return file.read(256).lstrip()[:1].decode("utf-8", "replace")


def _nested(path: Path) -> _Listed:
    content = encodable(parse_json("".join(line for _, line in text_lines(path)), path))
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object of topics")
    stack: list[tuple[list[str], Any]] = [([], content)]
    while stack:
        above, inside = stack.pop()
        if isinstance(inside, dict) and inside:
            parts = [([*above, *_split(name)], part) for name, part in inside.items()]
            stack += parts[::-1]
        elif inside in (None, {}) or isinstance(inside, list):
            words = inside or []
            if not all(isinstance(word, str) for word in words):
                raise UserError(f"{path}: the keywords of {'/'.join(above)!r} are no texts")
            yield "/".join(above), above, words
        else:
            raise UserError(f"{path}: {'/'.join(above)!r} holds {inside!r} and no keywords")
