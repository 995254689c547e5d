"""Which passage of real text a topic stands on: the ones that use its name and keywords most.

Every part of every source is read once. A topic's words count by how few topics have them, those of
its name twice; a part is ground for a topic if it has half of what they count together.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from synthdiv.errors import UserError
from synthdiv.generation.sources import Sources
from synthdiv.generation.topics import Topic
from synthdiv.progress import say

_ENOUGH = 0.5  # of the weight of a topic's words
_NAME = 2  # weight of a word of the topic's name, beside a keyword's
_KEPT = 8  # parts for each topic
_AT_ONCE = 1 << 16  # topics, or their words


class TopicWords:
    """The words that tell topics apart, each with its weight for every topic that has it.

    They take a few bytes for each word of each topic.

    Args:
        topics: whose places are meant by all numbers here.
    """

    def __init__(self, topics: Sequence[Topic]) -> None:
        self._numbers: dict[str, int] = {}  # of each word
        words, owners, own_weights = array("i"), array("i"), array("b")
        for place, topic in enumerate(topics):
            name = _words([topic.path[-1]])
            for word in sorted(name | _words(topic.keywords)):
                words.append(self._numbers.setdefault(word, len(self._numbers)))
                owners.append(place)
                own_weights.append(_NAME if word in name else 1)
        numbers = np.frombuffer(words, np.int32)
        order = np.argsort(numbers, kind="stable")
        self._owners = np.frombuffer(owners, np.int32)[order]
        self._own_weights = np.frombuffer(own_weights, np.int8)[order]
        numbers = numbers[order]
        del order, words, owners, own_weights
        self._ends = np.searchsorted(numbers, np.arange(len(self._numbers) + 1))
        self._rare = np.log(1 + len(topics) / np.diff(self._ends))
        self._met = np.zeros(len(topics))  # nothing, between two texts
        self._least = np.zeros(len(topics))
        for start in range(0, len(numbers), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            weights = _ENOUGH * self._own_weights[some] * self._rare[numbers[some]]
            self._least += np.bincount(self._owners[some], weights, len(topics))

    def met(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The topics that a text is about, and the weight of each one's words in the text."""
        known = sorted(n for word in _words([text]) if (n := self._numbers.get(word)) is not None)
        owners = [np.empty(0, np.int32)]
        for number in known:
            span = slice(self._ends[number], self._ends[number + 1])
            owners.append(self._owners[span])
            self._met[owners[-1]] += self._own_weights[span] * self._rare[number]
        some = np.concatenate(owners)
        places = np.unique(some[self._met[some] >= self._least[some]])
        worth = self._met[places]
        self._met[some] = 0
        return places, worth


class Grounds:
    """For each topic, the parts of the sources that are about it, best first.

    They take four bytes for each of the parts that a topic may have.

    Args:
        topics: what to find ground for.
        sources: where.

    Raises:
        UserError: there is ground for none of them.
    """

    def __init__(self, topics: Sequence[Topic], sources: Sources) -> None:
        words = TopicWords(topics)
        best = np.full((len(topics), _KEPT), -np.inf)  # the weight of each part that is kept
        self._parts = np.full((len(topics), _KEPT), -1, np.int32)  # counted through all documents
        self._firsts = array("i")  # of each document
        turn = 0
        for number in range(len(sources)):
            self._firsts.append(turn)
            for part in range(sources.parts(number)):
                places, worth = words.met(sources.part(number, part).text)
                held = best[places]
                least = held.min(axis=1)
                better = worth > least  # of equal ones the first stay, so the last of them goes
                last = np.where(held == least[:, None], self._parts[places], -2).argmax(axis=1)
                best[places[better], last[better]] = worth[better]
                self._parts[places[better], last[better]] = turn
                turn += 1
        del words
        for start in range(0, len(topics), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            order = np.lexsort((self._parts[some], -best[some]))
            self._parts[some] = np.take_along_axis(self._parts[some], order, axis=1)
        self._held = (self._parts >= 0).sum(axis=1)
        if not len(self.places):
            raise UserError(f"no passage of the sources is about any of {len(topics):,} topics")
        if lacking := len(topics) - len(self.places):
            say(f"{lacking:,} of {len(topics):,} topics have no passage in the sources: left out")

    @property
    def places(self) -> np.ndarray:
        """The topics that there is ground for."""
        return np.flatnonzero(self._held)

    def of(self, place: int, generation: int) -> tuple[int, int]:
        """Number of the document, and part of it, that a text on the topic at `place` stands on."""
        turn = int(self._parts[place, generation % self._held[place]])
        number = bisect_right(self._firsts, turn) - 1
        return number, turn - self._firsts[number]


def _words(texts: Iterable[str]) -> set[str]:
    """Words of four letters and more, without plural endings."""
    found = re.findall(r"[^\W\d_]{4,}", " ".join(texts).casefold())
    return {word.removesuffix("s") for word in found}
