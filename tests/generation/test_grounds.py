"""Which passages topics stand on: those with most of their words, in little memory."""

import math
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from synthdiv.corpora import Corpus
from synthdiv.errors import UserError
from synthdiv.generation import Topic, Topics
from synthdiv.generation.grounds import Grounds, TopicWords
from synthdiv.generation.sources import Sources

WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]


def topics(number: int) -> Topics:
    """Topics with a name of one word and nine keywords each."""
    draw = random.Random(1)
    return Topics.of(Topic(("All", own[0]), tuple(own[1:])) for own in _drawn(draw, number))


def _drawn(draw: random.Random, number: int) -> list[list[str]]:
    return [draw.sample(WORDS, 10) for _ in range(number)]


def test_topics_stand_on_the_parts_with_most_of_their_words() -> None:
    """As sets of words say."""
    draw, known = random.Random(2), topics(40)
    texts = [" ".join(draw.choices(WORDS, k=draw.choice([5, 200, 600]))) for _ in range(60)]
    sources = Sources(Corpus(texts), 2000)
    grounds = Grounds(known, sources)
    having = Counter(word for topic in known for word in {topic.path[-1], *topic.keywords})
    assert 3 < len(grounds.places) < len(known) or len(grounds.places) == len(known)
    parts = [(n, p) for n in range(len(sources)) for p in range(sources.parts(n))]
    held = {part: set(sources.part(*part).text.split()) for part in parts}
    compared = 0
    for place, topic in enumerate(known):
        rare = {w: math.log(1 + 40 / having[w]) for w in topic.keywords}
        rare[topic.path[-1]] = 2 * math.log(1 + 40 / having[topic.path[-1]])
        worth = {
            part: round(math.fsum(weight for word, weight in rare.items() if word in words), 9)
            for part, words in held.items()
        }
        enough = [part for part in parts if worth[part] >= math.fsum(rare.values()) / 2]
        best = sorted(enough, key=lambda part: -worth[part])[:8]
        assert (place in grounds.places) == bool(best)
        if best:
            found = [grounds.of(place, generation) for generation in range(len(best))]
            assert [worth[part] for part in found] == [worth[part] for part in best]
            assert grounds.of(place, len(best)) == found[0]
            compared += len(set(found)) == 8
    assert compared > 20


def test_of_equal_parts_the_first_eight_are_kept_in_order() -> None:
    only = Topics.of([Topic(("All", "Hexagons"), ("cells",))])
    grounds = Grounds(only, Sources(Corpus(["hexagons"] * 20 + ["hexagons of cells"]), 2000))
    order = [grounds.of(0, generation) for generation in range(8)]
    assert order == [(20, 0), *((n, 0) for n in range(7))]


def test_topics_without_ground_are_told_or_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no passage of the sources is about any of 3 topics"):
        Grounds(topics(3), Sources(Corpus(["nothing of that kind"]), 2000))
    places, worth = TopicWords(Topics.of([Topic(("a",), ())])).met("bees and more")
    assert len(places) == len(worth) == 0


def test_words_of_many_topics_take_little_memory() -> None:
    """So that 620,000 topics plan in less than 500 MB; a dict for each word took three times it."""
    many = topics(1500)
    sources = Sources(Corpus([" ".join(WORDS[:200])] * 12), 2000)
    tracemalloc.start()
    try:
        Grounds(many, sources)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / len(many) < 600
