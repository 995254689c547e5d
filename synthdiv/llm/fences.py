"""Fences: text that is data, marked so that nothing inside it can pass for anything else.

A prompt that quotes documents puts each between two tags that carry a mark. The mark is a hash of
the fenced texts and occurs in none of them, so no document can close its own fence or open another:

    <document 1 of 2 #3f9c01ab>
    the text
    </document #3f9c01ab>

The same texts always get the same mark, so a prompt made twice is the same prompt and its answer is
found in the store. Words that chat templates give a meaning to (`<|im_end|>`, `[INST]`, `</s>`...)
are taken apart by a zero-width space, since servers parse them inside messages too.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_MARK_LENGTH = 8
_KIND = re.compile(r"[a-z][a-z0-9_-]*")

# "<|", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]" and the like; any
# number of zero-width spaces after the first character, so that taking apart can be undone.
_SPECIAL = r"([<\[])(\u200b{least},)(?=\||/?s>|/?(?:start|end)_of_turn>|/?(?:INST|SYSTEM_PROMPT)\])"
_APART = re.compile(_SPECIAL.replace("{least},", "*"))
_TOGETHER = re.compile(_SPECIAL.replace("{least},", "+"))

_FENCE = re.compile(
    r"<(?P<kind>[a-z][a-z0-9_-]*) (?P<index>\d+) of \d+"
    r"(?P<attributes>(?: [a-z0-9_]+=\"[^\"\n]*\")*)"
    r" \#(?P<mark>[0-9a-f]{8})>\n(?P<text>.*?)\n</(?P=kind) \#(?P=mark)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"([a-z0-9_]+)=(\"[^\"\n]*\")")


@dataclass(frozen=True)
class Fenced:
    """One fenced text: its kind, its place among those fenced with it (from 1), its attributes."""

    kind: str
    index: int
    text: str
    attributes: dict[str, str] = field(default_factory=dict)


def fence(kind: str, texts: Sequence[str], **attributes: object) -> str:
    """Returns `texts` as fenced blocks, numbered from 1, one below the other.

    Args:
        kind: what they are, one lower-case word ("document", "topic"); becomes the tag.
        texts: any strings; `unfence` gives them back exactly.
        **attributes: shown in every opening tag; one line each. A list has one for each text, None
            for a text without it.

    Raises:
        ValueError: `kind` is not a word that a tag can have.
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"a fence's kind is a lower-case word, not {kind!r}")
    inside = _taken_apart(texts)
    shown = [""] * len(inside)
    if attributes:
        shown = [
            "".join(
                f" {name}={_quote(str(one))}"
                for name, value in attributes.items()
                if (one := value[place] if isinstance(value, list) else value) is not None
            )
            for place in range(len(inside))
        ]
    return _tagged(kind, inside, shown, _mark(kind, inside, "".join(dict.fromkeys(shown))))


def mark_together(texts: list[str]) -> tuple[str, list[str]]:
    """Makes texts ready to be fenced under one mark, whatever their kinds; takes less time.

    Returns:
        the mark, and the texts as `fence_under` takes them.
    """
    whole = "\n".join(texts)
    if "<" in whole or "[" in whole:
        texts = _taken_apart(texts)
        whole = "\n".join(texts)
    mark = hashlib.sha256(whole.encode()).hexdigest()
    while mark[:_MARK_LENGTH] in whole:
        mark = hashlib.sha256(mark.encode()).hexdigest()
    return mark[:_MARK_LENGTH], texts


def fence_under(mark: str, kind: str, texts: Sequence[str]) -> str:
    """Returns texts that `mark_together` gave as fenced blocks, as `fence` does."""
    return _tagged(kind, texts, [""] * len(texts), mark)


def fenced(message: str) -> list[Fenced]:
    """Returns every fenced text of a message, in order; what stands inside a fence is not read."""
    return [
        Fenced(
            found["kind"],
            int(found["index"]),
            _TOGETHER.sub(_rejoin, found["text"]),
            {name: _unquote(value) for name, value in _ATTRIBUTE.findall(found["attributes"])},
        )
        for found in _FENCE.finditer(message)
    ]


def unfence(kind: str, message: str) -> list[str]:
    """Returns the texts that were fenced as `kind` in a message, in order."""
    return [found.text for found in fenced(message) if found.kind == kind]


def _taken_apart(texts: Sequence[str]) -> list[str]:
    return [
        _APART.sub("\\1\\2\u200b", text) if "<" in text or "[" in text else text for text in texts
    ]


def _tagged(kind: str, texts: Sequence[str], shown: Sequence[str], mark: str) -> str:
    number, end = len(texts), f"</{kind} #{mark}>"
    return "\n".join(
        f"<{kind} {place} of {number}{told} #{mark}>\n{text}\n{end}"
        for place, (text, told) in enumerate(zip(texts, shown, strict=True), 1)
    )


def _mark(kind: str, texts: Sequence[str], shown: str) -> str:
    """A hash of the texts that none of them contains."""
    seed = json.dumps([kind, shown, list(texts)]).encode()
    salt = 0
    while True:
        mark = hashlib.sha256(b"%d:%b" % (salt, seed)).hexdigest()[:_MARK_LENGTH]
        if not any(mark in text for text in texts) and mark not in shown:
            return mark
        salt += 1


def _quote(value: str) -> str:
    """A JSON string on one line, without a quote or an angle bracket inside."""
    inside = json.dumps(_APART.sub("\\1\\2\u200b", value))[1:-1]
    for written, escaped in (('\\"', "\\u0022"), ("<", "\\u003c"), (">", "\\u003e")):
        inside = inside.replace(written, escaped)
    return f'"{inside}"'


def _unquote(value: str) -> str:
    return _TOGETHER.sub(_rejoin, json.loads(value))


def _rejoin(found: re.Match[str]) -> str:
    return found[1] + found[2][:-1]
