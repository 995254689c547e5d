"""A document's shape as training text: how long it is, what it asks, how it is laid out.

Each document's shape is drawn from shares in the configuration; a share of 0 or a list of one value
fixes it. What a document tells (its topic, its form) is not decided here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from synthdiv.errors import UserError, closest
from synthdiv.generation.chance import Chance

CHOICE, OPEN = "multiple choice", "open"


def _shares(values: dict[Any, float]) -> Any:
    """A field whose default is these shares."""
    return field(default_factory=lambda: dict(values))


@dataclass(frozen=True)
class ShapeConfig:
    """Shares of shapes, each `{value: share}`; gin scope `Shape`. Shares need not add up to 1.

    Raises:
        UserError: a share that is no number, or a value that nothing is known of.
    """

    passages: dict[int, float] = _shares({2: 1, 3: 2, 4: 2, 5: 1})
    words: dict[int, float] = _shares({50: 1, 90: 2, 130: 2, 200: 1})  # a passage, about
    questions: dict[int, float] = _shares({0: 2, 1: 2, 2: 1})
    kinds: dict[str, float] = _shares(
        {"multiple choice": 1, "open": 1}
    )  # of a document's questions
    options: dict[str, float] = _shares({"shown": 1, "hidden": 1})  # of a multiple-choice question
    explanations: dict[str, float] = _shares({"yes": 2, "no": 1})
    titles: dict[str, float] = _shares({"yes": 1, "no": 1})
    markup: dict[str, float] = _shares({"plain": 1, "markdown": 1})
    formulas: dict[str, float] = _shares({"LaTeX": 1, "plain": 1})

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            shares = getattr(self, one.name)
            known = _KNOWN.get(one.name)
            if not isinstance(shares, Mapping) or not shares:
                raise UserError(f"Shape.{one.name} is {{value: share}}, not {shares!r}")
            for value, share in shares.items():
                if known and value not in known:
                    raise UserError(
                        f"Shape.{one.name} has {value!r}, which is none of {', '.join(known)}"
                        f"{closest(str(value), known)}"
                    )
                if not known and (type(value) is not int or value < (one.name != "questions")):
                    raise UserError(f"Shape.{one.name} has {value!r} where a number belongs")
                if type(share) not in (int, float) or not 0 <= share < float("inf"):
                    raise UserError(f"Shape.{one.name}: the share of {value!r} is {share!r}")
            if not sum(shares.values()) > 0:
                raise UserError(f"Shape.{one.name} leaves nothing to draw: {shares!r}")


_YES = ("yes", "no")
_KNOWN: dict[str, tuple[str, ...]] = {
    "kinds": (CHOICE, OPEN),
    "options": ("shown", "hidden"),
    "explanations": _YES,
    "titles": _YES,
    "markup": ("plain", "markdown"),
    "formulas": ("LaTeX", "plain"),
}


@dataclass(frozen=True)
class Shape:
    """One document's shape.

    Attributes:
        passages: how many.
        words: how many the passages have in all, about.
        choices: multiple-choice questions.
        questions: open questions.
        options_shown: whether the document lists the options.
        explained: whether it explains the answers.
        titled: whether it has a title.
        markdown: whether it is Markdown, or plain text.
        formulas: how they are written, "LaTeX" or "plain".
    """

    passages: int
    words: int
    choices: int
    questions: int
    options_shown: bool
    explained: bool
    titled: bool
    markdown: bool
    formulas: str

    def counts(self, personas: int = 0) -> dict[str, int]:
        """How many of each part the reply has; see `Replies.of`."""
        return {
            "audience": personas,
            "title": int(self.titled),
            "passages": self.passages,
            "choice_questions": self.choices,
            "open_questions": self.questions,
            "explanation": int(self.explained),
        }


class Shapes:
    """Draws shapes; equal ones are one object.

    Args:
        config: the shares.
    """

    def __init__(self, config: ShapeConfig) -> None:
        # In an order of its own, so that a file that names them otherwise draws the same.
        shares = {
            one.name: sorted((v, w) for v, w in getattr(config, one.name).items() if w)
            for one in dataclasses.fields(config)
        }
        (self._passages, self._passage_ends), (self._words, self._word_ends) = (
            ([value for value, _ in shares[name]], list(accumulate(w for _, w in shares[name])))
            for name in ("passages", "words")
        )
        # What has few values is drawn at once: one number instead of seven.
        layouts = list(itertools.product(*(shares[name] for name in _LAYOUT)))
        self._layouts = [tuple(value for value, _ in layout) for layout in layouts]
        self._ends = list(accumulate(math.prod(w for _, w in layout) for layout in layouts))
        self._made: dict[tuple[int, int, int], Shape] = {}

    def draw(self, chance: Chance) -> Shape:
        """Draws one."""
        passages = self._passages[chance.among(self._passage_ends)]
        words = self._words[chance.among(self._word_ends)]
        layout = chance.among(self._ends)
        shape = self._made.get((passages, words, layout))
        if shape is None:
            shape = self._made[passages, words, layout] = _shape(
                passages, words, **dict(zip(_LAYOUT, self._layouts[layout], strict=True))
            )
        return shape


_LAYOUT = ("questions", "kinds", "options", "explanations", "titles", "markup", "formulas")


def _shape(
    passages: int,
    words: int,
    questions: int,
    kinds: str,
    options: str,
    explanations: str,
    titles: str,
    markup: str,
    formulas: str,
) -> Shape:
    return Shape(
        passages=passages,
        words=passages * words,
        choices=questions if kinds == CHOICE else 0,
        questions=questions if kinds == OPEN else 0,
        options_shown=questions > 0 and kinds == CHOICE and options == "shown",
        explained=questions > 0 and explanations == "yes",
        titled=titles == "yes",
        markdown=markup == "markdown",
        formulas=formulas,
    )
