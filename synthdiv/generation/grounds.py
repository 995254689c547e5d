"""Which passage of real text a topic stands on: the ones that use its name and keywords most.

Every part of every source is read once. A topic's words count by how few topics have them, those of
its name twice; a part is ground for a topic if it has half of what they count together.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from synthdiv.errors import UserError
from synthdiv.generation.sources import Sources
from synthdiv.generation.topics import Topic
from synthdiv.progress import say

_ENOUGH = 0.5  # of the weight of a topic's words
_NAME = 2.0  # weight of a word of the topic's name, beside a keyword's
_KEPT = 8  # parts for each topic


class TopicWords:
    """The words that tell topics apart, each with its weight for every topic that has it.

    Args:
        topics: whose places are meant by all numbers here.
    """

    def __init__(self, topics: Sequence[Topic]) -> None:
        self._having: dict[str, dict[int, float]] = defaultdict(dict)
        for place, topic in enumerate(topics):
            name = _words([topic.path[-1]])
            for word in name | _words(topic.keywords):
                self._having[word][place] = _NAME if word in name else 1.0
        self._whole = [0.0] * len(topics)
        for found in self._having.values():
            rare = math.log(1 + len(topics) / len(found))
            for place in found:
                found[place] *= rare
                self._whole[place] += found[place]

    def met(self, text: str) -> dict[int, float]:
        """The topics that a text is about, each with the weight of its words in the text."""
        met: dict[int, float] = defaultdict(float)
        for word in _words([text]) & self._having.keys():
            for place, worth in self._having[word].items():
                met[place] += worth
        return {p: worth for p, worth in met.items() if worth >= _ENOUGH * self._whole[p]}


class Grounds:
    """For each topic, the parts of the sources that are about it, best first.

    Args:
        topics: what to find ground for.
        sources: where.

    Raises:
        UserError: there is ground for none of them.
    """

    def __init__(self, topics: Sequence[Topic], sources: Sources) -> None:
        words = TopicWords(topics)
        best: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
        for number in range(len(sources)):
            for part in range(sources.parts(number)):
                for place, worth in words.met(sources.part(number, part).text).items():
                    heapq.heappush(best[place], (worth, -number, -part))
                    if len(best[place]) > _KEPT:
                        heapq.heappop(best[place])
        self._parts = {
            topics[place].key: [(-number, -part) for _, number, part in sorted(found)[::-1]]
            for place, found in best.items()
        }
        if not self._parts:
            raise UserError(f"no passage of the sources is about any of {len(topics):,} topics")
        if lacking := len(topics) - len(self._parts):
            say(f"{lacking:,} of {len(topics):,} topics have no passage in the sources: left out")

    def __contains__(self, key: str) -> bool:
        return key in self._parts

    def of(self, key: str, generation: int) -> tuple[int, int]:
        """Number of the document, and part of it, that a text on the topic stands on."""
        parts = self._parts[key]
        return parts[generation % len(parts)]


def _words(texts: Iterable[str]) -> set[str]:
    """Words of four letters and more, without plural endings."""
    found = re.findall(r"[^\W\d_]{4,}", " ".join(texts).casefold())
    return {word.removesuffix("s") for word in found}
