"""Prompts made fast: what stands around their texts is rendered once for all that are alike.

A prompt is fixed words and fenced texts. Which words stand there follows from what the text is to
be like and from how many topics, people and so on are shown, but not from what these say; so the
template is rendered once with texts that nothing but `fence` can open, and each prompt is that
rendering with its own texts in the places. A template that looks into a text is rendered whole for
every prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NoReturn

from synthdiv.llm import fence, fence_under, mark_together

Texts = Mapping[str, "str | list[str]"]

_EDGE = "\0"  # around the number of a text; no template and no JSON has it
_KEPT = 8192  # skeletons


class _Opened(Exception):
    """A template does with a text what cannot be done without reading it."""


class _Held:
    """A text, or a list of texts, that can be counted and fenced and nothing else."""

    __slots__ = ("places", "size")

    def __init__(self, places: list[int], size: int | bool) -> None:
        self.places, self.size = places, size

    def __bool__(self) -> bool:
        return bool(self.size)

    def __len__(self) -> int:
        return self._open() if isinstance(self.size, bool) else self.size

    def _open(self, *_: object) -> NoReturn:
        raise _Opened

    __str__ = __iter__ = __getitem__ = __getattr__ = __contains__ = __format__ = __hash__ = _open
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __mod__ = _open


class Skeletons:
    """Renders the prompts of one family.

    Args:
        render: renders the template with the values that it is given by name.
    """

    def __init__(self, render: Callable[..., str]) -> None:
        self._render = render
        self._made: dict[tuple[Any, ...], _Skeleton] = {}
        self._whole = False  # whether the template looks into texts

    def prompt(self, fixed: Mapping[str, Any], texts: Texts) -> str:
        """Returns a prompt.

        Args:
            fixed: by name, what decides the words around the texts; hashable.
            texts: by name, what is fenced.
        """
        if not self._whole:
            sizes: list[Any] = list(fixed.values())
            flat: list[str] = []
            for text in texts.values():
                if isinstance(text, str):
                    flat.append(text)
                    sizes.append(bool(text))
                else:
                    flat += text
                    sizes.append(len(text))
            key = tuple(sizes)
            mark, inside = mark_together(flat)
            if (known := self._made.get(key)) is not None:
                return known.filled(mark, inside)
            made = self._make(fixed, texts)
            if made is not None:
                prompt = made.filled(mark, inside)
                if prompt == self._render(
                    fence=functools.partial(fence_under, mark), **fixed, **_shaped(texts, inside)
                ):
                    if len(self._made) < _KEPT:
                        self._made[key] = made
                    return prompt
            self._whole = True
        return self._render(fence=fence, **fixed, **texts)

    def _make(self, fixed: Mapping[str, Any], texts: Texts) -> _Skeleton | None:
        def keep(kind: str, held: Any, **attributes: object) -> str:
            each = [held] if isinstance(held, _Held) else held
            if attributes or not all(isinstance(one, _Held) for one in each):
                raise _Opened
            return fence_under(_place(0), kind, [_place(n) for one in each for n in one.places])

        number = sum(1 if isinstance(t, str) else len(t) for t in texts.values())
        places = _shaped(texts, range(1, number + 1))
        held = {
            name: _Held([places[name]], bool(text))
            if isinstance(text, str)
            else _Held(places[name], len(text))
            for name, text in texts.items()
        }
        try:
            return _Skeleton(self._render(fence=keep, **fixed, **held))
        except _Opened:
            return None


class _Skeleton:
    """A rendering with places in it."""

    def __init__(self, rendered: str) -> None:
        self._pieces = rendered.split(_EDGE)
        places = [int(number) for number in self._pieces[1::2]]
        # With two that are not used, so that there are never fewer and it always gives a tuple.
        self._texts = itemgetter(0, 0, *places)

    def filled(self, mark: str, texts: Sequence[str]) -> str:
        pieces = self._pieces.copy()
        pieces[1::2] = self._texts((mark, *texts))[2:]
        return "".join(pieces)


def _place(number: int) -> str:
    return f"{_EDGE}{number}{_EDGE}"


def _shaped(texts: Texts, flat: Sequence[Any]) -> dict[str, Any]:
    """Puts what belongs to all texts, one after the other, under their names again."""
    shaped, start = {}, 0
    for name, text in texts.items():
        size = 1 if isinstance(text, str) else len(text)
        part = list(flat[start : start + size])
        shaped[name] = part[0] if isinstance(text, str) else part
        start += size
    return shaped
