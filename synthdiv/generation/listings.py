"""Topics that somebody has listed already: plain lists, outlines, tables, trees; no model is asked.

list      text, a topic a line; levels apart by ">" or "/", the broadest first. Where lines have
          ">", a "/" is part of a name
tree      text, an outline: what is indented lies under the line before; its leaves are topics
table     CSV, JSON lines or Parquet: `topic` (or `title`, `name`), above it `path` (a list, or
          text as in a list) or `level1`, `level2`, ... or `domain`, `field`, `subfield`; and
          `keywords` (a list, or text with ";" or "," between). OpenAlex's topics and WordNet's
          nouns as JSON lines are such tables, and so are topic seeds.
nested    JSON: {"Field/Part/Topic": [keywords]}, or objects in objects, as deep as they go

In a text, lines that begin with "# " are comments. Where files do not say what they are, most of
their lines do: a list has ">" or "/" in them, whatever is indented; an outline is indented.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.corpora import formats
from synthdiv.errors import UserError, closest
from synthdiv.generation.merging import Found
from synthdiv.generation.topics import Topic
from synthdiv.json_lines import encodable, open_bytes, parse_json, text_lines
from synthdiv.progress import say
from synthdiv.storage import fetch

PAGES = "pages"
_NAMES = ("topic", "title", "name")
_ABOVE = ("domain", "field", "subfield")
_LEVELS = 5  # of a path; of a longer one the first two and the last three stay
_LOOKED_AT = 1000  # lines of a text, to tell what it is
_LONGEST = 150  # characters of a name; what is longer is a paragraph
_BULLET = re.compile(r"^[-*+\u2022\u2013]\s+")
_COMMENT = re.compile(r"\s*#+(\s|$)")
# What stands between levels: the first of them that a path has, and nothing else.
_BETWEEN = tuple(map(re.compile, (r"(?<!\S)>(?!\S)", ">", "\t", "/")))


def kind_of(path: Path, text_column: str | None = "text") -> str:
    """What a file looks like: one of `KINDS`, or "pages", whose text is in a column.

    Args:
        path: the file, or a corpus of another kind.
        text_column: where pages have their text; None for several columns.

    Raises:
        UserError: rows are neither topics nor pages, or lines both a list and an outline.
    """
    ending = formats.ending(path) if path.is_file() else None
    if ending == ".txt":
        return _kind_of_text(path)
    if ending not in (".json", ".jsonl", ".csv", ".parquet", ".arrow"):
        return PAGES
    row = _row(path)
    if row and (text_column is None or text_column in row):
        return PAGES
    if _is_table(row):
        return "table"
    if ending == ".json" and _begins(path) == "{":
        return "nested"
    if row:
        raise UserError(_unfit(path, row, f"{text_column!r}, as pages have (--text_column), nor "))
    return PAGES  # whose reader knows what is wrong


def _kind_of_text(path: Path) -> str:
    lines = [line for _, (_, line) in zip(range(_LOOKED_AT), _lines(path), strict=False)]
    short = [line for line in lines if not _too_long(_levels(_plain(line)))]
    names = sum(not line.endswith((".", "!", "?")) for line in short)  # sentences are no names
    if not lines or (len(short) < len(lines) and 2 * names <= len(lines)):
        return PAGES
    indented = sum(line[:1].isspace() for line in lines)
    arrows, slashes = (sum(sign in line for line in lines) for sign in ">/")
    if 2 * arrows >= len(lines) or 2 * slashes >= len(lines) > 2 * indented:
        return "list"
    if indented and arrows:
        raise UserError(f"{path} has lines that are indented, as in a tree, and lines with '>', as "
                        "in a list: say which it is with --from=tree or --from=list")  # fmt: skip
    return "tree" if indented or any(map(_BULLET.match, lines)) else "list"


def read_listings(
    paths: Sequence[str], kind: str | None, text_column: str | None = "text"
) -> tuple[list[Found], str | None]:
    """Reads all files that list topics, and says as what; the one that is pages is left to others.

    Args:
        paths: of files, or of a corpus.
        kind: of all of them, one of `KINDS` or "pages"; None for what each looks like.
        text_column: where pages have their text; None for several columns.

    Raises:
        UserError: two are pages; or as `kind_of` and `read_listing`.
    """
    listed: list[Found] = []
    pages: list[str] = []
    for path in paths:
        looks = kind or kind_of(_here(path), text_column)
        if looks == PAGES:
            pages.append(path)
        else:
            before = len(listed)
            listed += read_listing(_here(path), looks)
            say(f"{path}: read as {looks}, {len(listed) - before:,} topics")
    if len(pages) > 1:
        raise UserError("one corpus of pages at once; a directory or pattern may hold several")
    return listed, pages[0] if pages else None


def _here(path: str) -> Path:
    """Where a file lies here; what is in a store and no single file is a corpus."""
    single = formats.ending(Path(path)) and not glob.has_magic(path)
    return fetch(path) if single and not path.startswith("hf://") else Path(path)


def read_listing(path: Path, kind: str) -> Iterator[Found]:
    """Reads listed topics, each with its file and line as its source.

    Args:
        path: the file.
        kind: one of `KINDS`.

    Raises:
        UserError: there is no such kind, or the file is not of it or holds no topic.
    """
    if kind not in KINDS:
        raise UserError(f"topics come from {', '.join((PAGES, *KINDS))}, not {kind!r}"
                        f"{closest(kind, [PAGES, *KINDS])}")  # fmt: skip
    empty = True
    for where, levels, keywords in KINDS[kind](path):
        topic = as_topic(levels, keywords)
        if topic is not None:
            empty = False
            yield Found(topic, (f"{path.name}:{where}",))
    if empty:
        raise UserError(f"{path} holds no topics, read as a {kind}")


def as_topic(levels: Sequence[str], keywords: Sequence[str]) -> Topic | None:
    """A topic made fit for a topics file; None where nothing is left of it."""
    # In a topics file "/" stands between levels alone: TCP/IP is written TCP-IP.
    whole = [re.sub(r"(?<=\w)/(?=\w)", "-", level) for level in levels]
    plain = [" ".join(re.sub(r"[/\x00-\x1f\s]+", " ", level).split()) for level in whole]
    path = [level for level in plain if level]
    if len(path) > _LEVELS:
        path = path[:2] + path[-3:]
    words = [" ".join(re.sub(r"[;\x00-\x1f\s]+", " ", word).split()) for word in keywords]
    return Topic(tuple(path), tuple(dict.fromkeys(filter(None, words)))) if path else None


_Listed = Iterator[tuple[int | str, Sequence[str], Sequence[str]]]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in text_lines(path):
        if "\0" in line:
            raise UserError(f"{path} line {number} has null characters: is it UTF-16? "
                            "save it as UTF-8")  # fmt: skip
        if line.strip() and not _COMMENT.match(line):
            yield number, line.rstrip()


def _plain(line: str) -> str:
    return _BULLET.sub("", line.strip())


def _levels(path: str, slashes: bool = True) -> list[str]:
    between = _BETWEEN if slashes else _BETWEEN[:-1]
    first = next((one for one in between if one.search(path)), None)
    return [level.strip() for level in first.split(path)] if first else [path]


def _split(path: str, where: str, slashes: bool = True) -> list[str]:
    levels = _levels(path, slashes)
    if not all(levels):
        raise UserError(f"{where} has an empty level: {path!r}")
    return levels


def _too_long(levels: Sequence[str]) -> bool:
    return max(map(len, levels)) > _LONGEST


def _checked(levels: list[str], where: str) -> list[str]:
    if _too_long(levels):
        raise UserError(f"{where} has {max(map(len, levels)):,} characters, too many for a topic's "
                        "name: shorten it; if the file holds pages and no topics, add "
                        "--from=pages")  # fmt: skip
    return levels


def _listed(path: Path) -> _Listed:
    first = [line for _, (_, line) in zip(range(_LOOKED_AT), _lines(path), strict=False)]
    arrows = sum(">" in line for line in first)
    slashes = not arrows or sum("/" in line for line in first) > arrows
    for number, line in _lines(path):
        where = formats.place(path, number)
        yield number, _checked(_split(_plain(line), where, slashes), where), ()


def _outline(path: Path) -> _Listed:
    above: list[tuple[int, str]] = []  # how far in each level begins, and its name
    leaf: int | None = None
    for number, line in _lines(path):
        depth = len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip())
        if leaf is not None and depth <= above[-1][0]:
            yield leaf, [name for _, name in above], ()
        while above and above[-1][0] >= depth:
            above.pop()
        [name] = _checked([_plain(line)], formats.place(path, number))
        above.append((depth, name))
        leaf = number
    if leaf is not None:
        yield leaf, [name for _, name in above], ()


def _row(path: Path) -> Mapping[str, Any]:
    try:
        return next(formats.numbered_rows(path), (0, {}))[1]
    except UserError:
        return {}


def _is_table(row: Mapping[str, Any]) -> bool:
    return any(name in row for name in ("path", "level1", *_NAMES))


def _unfit(path: Path, row: Mapping[str, Any], pages: str = "") -> str:
    """What is missing in a row that names no topic, and how it could be there."""
    known = ", ".join(map(repr, row))
    said = (f"{path} has no column {pages}'topic', 'title', 'name', 'path' or 'level1', as a table "
            f"of topics has (--from=table); it has {known}")  # fmt: skip
    if formats.ending(path) == ".csv":
        apart = next((sign for sign in (";", "\t", "|") if any(sign in name for name in row)), None)
        said += "; a CSV file's first line names its columns"
        said += f", with commas between, not {apart!r}" if apart else ", such as topic,keywords"
    return said


def _table(path: Path) -> _Listed:
    for number, row in formats.numbered_rows(path):
        row = encodable(row)
        above = row.get("path")
        if isinstance(above, str):
            above = _split(above, formats.place(path, number)) if above.strip() else ()
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
            if not _is_table(row):
                raise UserError(_unfit(path, row))
            raise UserError(f"{formats.place(path, number)} names no topic")
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
            parts = [([*above, *_split(name, str(path))], part) for name, part in inside.items()]
            stack += parts[::-1]
        elif inside in (None, {}) or isinstance(inside, list):
            words = inside or []
            if not all(isinstance(word, str) for word in words):
                raise UserError(f"{path}: the keywords of {'/'.join(above)!r} are no texts")
            yield "/".join(above), above, words
        else:
            raise UserError(f"{path}: {'/'.join(above)!r} holds {inside!r} and no keywords")


KINDS = {"list": _listed, "tree": _outline, "table": _table, "nested": _nested}  # and readers
