"""The sentences of the offline writer: how each style says a fact, leads on, and asks.

They are data, in phrases.json. A sentence is a template: `{T}` is the topic, `{V}` the value of a
fact, `{C}` a clause that states one, `{K}` and `{L}` two keywords, `{P}` the field that the topic
belongs to, `{U}` another topic of the same text, `{W}` a word of the audience's own description or
of a source, `{S}` a sentence of a source, `{N}` the number of a step; `[a|b|c]` stands for one of
its alternatives. The topic
comes first, then the relation's own noun (emblem, founder, ...) or the other way round, and the
value last: a small model learns to continue what it has read, so this is what it can be asked for,
however much the rest varies.

Corpora and scores that were made with these sentences can only be made again with these sentences.
"""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

_READ: dict[str, Any] = json.loads(
    Path(__file__).with_name("phrases.json").read_text(encoding="utf-8")
)

CLAUSES: dict[str, list[str]] = _READ["clauses"]
"""By relation: what a fact is, in words that fit into any style's frames."""

ASKED: dict[str, list[str]] = _READ["asked"]
"""By relation: questions as the writer asks them. `World.questions` words them differently."""

EXPLAINED: list[str] = _READ["explained"]
"""Explanations of an answer."""

STYLES: dict[str, dict[str, list[str]]] = _READ["styles"]
"""By style: first sentences ("open"), frames around a clause, which starts in lower case ("fact"),
sentences that carry the topic's keywords ("keyword"), and last sentences ("close")."""

VOICES: list[list[str]] = _READ["voices"]
"""How a text takes up what its audience cares about, without a word to or about it. A persona
always gets the same voice, so two personas differ by more than their interests."""

JOINS: list[str] = _READ["joins"]
"""Sentences that join two topics of a text on several."""

RETOLD: dict[str, list[str]] = _READ["retold"]
"""Titles, questions and frames for sentences of a source that is put into another form."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str, random: Random) -> str:
    """Returns the template with one alternative of every `[a|b]`; slots stay as they are."""

    def pick(match: re.Match[str]) -> str:
        return random.choice(match[1].split("|"))

    while "[" in template:
        template = _CHOICE.sub(pick, template)
    return template
