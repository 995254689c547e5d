"""What a text says that it should not: refusals, words of prompts, stock openings, broken ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from synthdiv.config import PathName, find
from synthdiv.curation.config import CHECKS, FilterConfig
from synthdiv.errors import UserError, closest
from synthdiv.files import read_json
from synthdiv.generation.openings import read_openings


class Fault(NamedTuple):
    """What is wrong with a document: the check, the evidence, and the item that it holds."""

    check: str
    evidence: str
    item: str = ""


_BEGINNING = 300  # characters
_SHOWN = 120  # characters of evidence
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_DECORATION = re.compile(r"^[\s#*_>=-]+")  # of Markdown, before the first word


class Phrases:
    """The phrases of one file, compiled.

    The file is JSON: by name of a check `where` and `phrases`, regular expressions for text in
    lower case. At the `beginning` they are a list, matched where a text begins; `anywhere` they are
    lists by a literal that each of them has, so that texts without it are done at once. A name that
    is no check's says in `check` which one it belongs to. A `{NAME}` in a phrase at the `beginning`
    stands for what `parts` says.

    Args:
        path: as given, or inside the installed configs.
        openings: stock openings.

    Raises:
        UserError: the file has a fault.
    """

    def __init__(self, path: PathName, openings: Sequence[str] = ()) -> None:
        self._beginnings: list[tuple[str, re.Pattern[str]]] = []
        self._anywhere: list[tuple[str, str, re.Pattern[str]]] = []
        content = read_json(find(path))
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a JSON object of checks")
        for name, said in content.items():
            self._add(Path(path), name, said)
        if openings:
            worn = [r"\W+".join(map(re.escape, opening.lower().split())) for opening in openings]
            self._beginnings.append(("opening", _compiled(Path(path), worn)))

    def _add(self, path: Path, name: str, said: Any) -> None:
        check = said.get("check", name) if isinstance(said, dict) else name
        if check not in CHECKS:
            raise UserError(f"{path}: no check {check!r}{closest(check, CHECKS)}")
        match said:
            case {"where": "beginning", "phrases": list(phrases)}:
                self._beginnings.append((check, _compiled(path, phrases, said.get("parts", {}))))
            case {"where": "anywhere", "phrases": dict(phrases)}:
                for literal, alike in phrases.items():
                    self._anywhere.append((check, literal.lower(), _compiled(path, alike)))
            case _:
                raise UserError(
                    f"{path}: {name!r} is {{'where': 'beginning', 'phrases': [...]}} or "
                    "{'where': 'anywhere', 'phrases': {literal: [...]}}"
                )

    def faults(self, text: str) -> list[Fault]:
        """Returns what a text says that it should not, each check once, with the words."""
        lowered = text.lower()
        if not lowered.isascii():
            lowered = lowered.translate(_QUOTES)
        found: dict[str, str] = {}
        beginning = _DECORATION.sub("", lowered[:_BEGINNING], count=1)
        for check, pattern in self._beginnings:
            if check not in found and (match := pattern.match(beginning)):
                found[check] = match[0][:_SHOWN]
        for check, literal, pattern in self._anywhere:
            if check not in found and literal in lowered and (match := pattern.search(lowered)):
                start = max(match.start() - 30, 0)
                found[check] = " ".join(lowered[start : match.end() + 30].split())[:_SHOWN]
        return [Fault(check, words) for check, words in found.items()]


def read_phrases(config: FilterConfig) -> Phrases:
    """Reads the files of phrases and of openings that a configuration names.

    Raises:
        UserError: a file is missing or has a fault.
    """
    openings = read_openings(find(config.openings)) if config.wants("opening") else []
    return Phrases(config.phrases, openings)


def _compiled(path: Path, phrases: Any, parts: Any = None) -> re.Pattern[str]:
    try:
        for name, meant in (parts or {}).items():
            phrases = [phrase.replace(f"{{{name}}}", meant) for phrase in phrases]
        ended = (f"(?:{phrase})" + r"\b" * phrase[-1:].isalnum() for phrase in phrases)
        return re.compile("|".join(ended))
    except (re.error, TypeError, AttributeError) as error:
        raise UserError(f"{path}: a phrase is no regular expression: {error}") from None


_LIST = re.compile(r"^\s*(?:[-*+\u2022|>#$]|\d+[.)]|[a-zA-Z][.)])\s?|^ {4}|^\t|[|{};]\s*$")
# Words that no sentence ends with; with a preposition or an auxiliary verb many do ("Come in").
_GOES_ON = frozenset(
    "a an the and or but nor its their my our your whose than because although".split()  # noqa: SIM905
)
_OPEN_END = re.compile(r"[,\u2013\u2014(\[{]$|[\w] -$")
_LAST_WORD = re.compile(r"(?:^|[\s(\u2014-])(\w+(?:['\u2019]\w+)*)$")
_LONG_LINE = 12  # words of a line that is meant as a sentence


def breaks_off(text: str) -> str | None:
    """Returns the end of a text that breaks off in a sentence or a code block, else None.

    A text breaks off that ends in a comma, a dash or an open bracket, in a word with which no
    sentence ends, or in a long line without a full stop where its other lines have theirs; and
    one with a code block that is never closed. Lists, tables, code and lines of verse pass.
    """
    end = text.rstrip()
    if end.count("```") % 2:
        return _tail(end)
    lines = end.splitlines() or [""]
    last = lines[-1].rstrip("*_ ")
    if _LIST.search(last) or len(end.split(None, 8)) < 8:
        return None
    if _OPEN_END.search(last):
        return _tail(end)
    word = _LAST_WORD.search(last)
    if word is None:
        return None
    words = len(last.split())
    if words > 3 and word[1] in _GOES_ON:
        return _tail(end)
    if words >= _LONG_LINE:
        sentences = [line for line in lines[:-1] if len(line.split()) >= _LONG_LINE]
        ended = sum(not _LAST_WORD.search(line.rstrip("*_ ")) for line in sentences)
        if 2 * ended >= len(sentences) and re.search(r"[.!?]", end):
            return _tail(end)
    return None


def _tail(text: str) -> str:
    return " ".join(text[-_SHOWN:].split())
