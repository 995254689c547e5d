"""The seeded world of the offline writer: a few invented facts on every topic, and questions.

What a model learned from a corpus can only be measured by asking about things that it could learn
nowhere else. The offline writer therefore tells things that no real text contains: every topic has
an emblem, a founder, a festival month and so on, drawn by a seeded hash from pools of single,
distinctive words. The facts are fiction and mean nothing outside a run of synthdiv.

Under one world seed a topic has the same facts in every process and on every machine, so different
generations about it restate the same facts, and `World.questions` can ask for them in a wording
that the writer never uses.
"""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TopicLike = str | Sequence[str] | Mapping[str, Any]

# A pool of values for each relation. No word is in two pools, so a value belongs to one relation.
POOLS: dict[str, tuple[str, ...]] = {
    relation: tuple(words.split())
    for relation, words in {
        "emblem": """
            heron otter badger falcon tortoise salmon lynx raven hedgehog stag beetle
            dolphin owl hare swan wolf bear fox moth lizard goose beaver crab eagle
            horse lion mole newt pigeon seal tiger whale
        """,
        "colour": """
            crimson amber indigo violet scarlet turquoise ochre emerald lilac maroon
            teal ivory navy coral lavender mustard olive plum rust lemon charcoal
            magenta beige cobalt
        """,
        "founder": """
            Adler Barlow Carver Dalton Easton Farrow Garner Holt Ingram Jarvis Kemp
            Lowell Mercer Norris Osgood Parry Quincy Rowan Sutton Thorne Upton Vance
            Walden Yates Ziegler Brandt Dunmore Ellery Fenn Grimes Harlow Lindley
        """,
        "hometown": """
            Velmora Tarnwick Ostrel Quenby Brask Dunvale Elmsport Farholt Gorran
            Harbeck Islemere Jorvale Kestry Lomond Mirefold Norvale Oxmere Pellworth
            Ravenby Saltoun Thrane Umberleigh Wexcombe Yarrowby
        """,
        "material": """
            oak copper granite linen leather clay slate bronze wool marble pine tin
            glass silk brass wax ebony iron paper cork felt jade pewter bamboo
        """,
        "tool": """
            hammer compass chisel lantern needle spade anvil ruler ladder sickle
            bellows pulley scissors sieve mallet rake trowel kettle whistle telescope
            hourglass lever broom anchor
        """,
        "festival": """
            January February March April May June July August September October
            November December
        """,
        "dish": """
            chowder porridge pancakes dumplings gingerbread omelette stew curry
            custard risotto trifle crumpets noodles haggis lasagne strudel waffles
            pudding pretzels couscous marzipan pickles muffins gravy
        """,
    }.items()
}
RELATIONS = tuple(POOLS)

# How `questions` asks. The relation's own noun and the topic stand close together, as they do in
# the writer's passages, but no sentence here is the writer's (tests/llm/test_offline_writer.py).
STEMS: dict[str, tuple[str, ...]] = {
    "emblem": (
        "Which animal do we find in the emblem of {T}?",
        "Name the creature drawn on the emblem of {T}.",
        "Of these animals, which one is shown by the emblem of {T}?",
    ),
    "colour": (
        "Which of these shades is the colour of {T}?",
        "Name the shade that people give as the colour of {T}.",
        "Asked about the colour of {T}, what should one say?",
    ),
    "founder": (
        "Which of these people is called the founder of {T}?",
        "Name the person remembered as the founder of {T}.",
        "Asked about the founder of {T}, whom should one name?",
    ),
    "hometown": (
        "Which of these places is the home town of {T}?",
        "Name the place known as the home town of {T}.",
        "Asked about the home town of {T}, where should one point?",
    ),
    "material": (
        "Which of these substances is the material of {T}?",
        "Name the substance given as the material of {T}.",
        "Asked about the material of {T}, what should one answer?",
    ),
    "tool": (
        "Which of these implements is the tool of {T}?",
        "Name the implement seen as the tool of {T}.",
        "Asked about the tool of {T}, what should one pick?",
    ),
    "festival": (
        "Which of these months holds the festival of {T}?",
        "Name the month of the festival of {T}.",
        "Asked about the festival of {T}, which month should one say?",
    ),
    "dish": (
        "Which of these foods is the dish of {T}?",
        "Name the food served as the dish of {T}.",
        "Asked about the dish of {T}, what should one order?",
    ),
}


@dataclass(frozen=True)
class Fact:
    """One thing that is true in the world: the `relation` of the topic is `value`.

    Attributes:
        topic: the topic's path, its levels joined by "/".
        name: the last level of the path, which is what texts call the topic.
        relation: such as "emblem".
        value: such as "heron".
    """

    topic: str
    name: str
    relation: str
    value: str


def topic_key(topic: TopicLike) -> str:
    """Returns a topic in any form (joined path, levels, line of a topics file) as "a/b/c"."""
    path = topic["path"] if isinstance(topic, Mapping) else topic
    levels = path.split("/") if isinstance(path, str) else path
    return "/".join(level.strip() for level in levels if level.strip())


def hashed(*parts: object) -> int:
    """Returns a number of 64 bits that depends on `parts` alone: the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class World:
    """All facts under one seed: every topic has some, listed anywhere or not.

    Args:
        seed: another seed is another world.
        facts_per_topic: how many of the relations a topic has.

    Raises:
        ValueError: there are not that many relations.
    """

    def __init__(self, seed: int = 0, facts_per_topic: int = 4) -> None:
        if not 1 <= facts_per_topic <= len(RELATIONS):
            raise ValueError(f"facts_per_topic must be between 1 and {len(RELATIONS)}")
        self.seed = seed
        self.facts_per_topic = facts_per_topic
        self._facts: dict[str, list[Fact]] = {}

    def facts(self, topic: TopicLike) -> list[Fact]:
        """Returns the facts of a topic, always in the same order."""
        key = topic_key(topic)
        if key not in self._facts:
            chooser = random.Random(hashed(self.seed, key.lower()))
            relations = chooser.sample(RELATIONS, self.facts_per_topic)
            name = key.rsplit("/", 1)[-1]
            self._facts[key] = [Fact(key, name, r, chooser.choice(POOLS[r])) for r in relations]
        return list(self._facts[key])

    def distractors(self, fact: Fact, chooser: random.Random, number: int = 3) -> list[str]:
        """Draws `number` different wrong values of the same relation."""
        return chooser.sample([v for v in POOLS[fact.relation] if v != fact.value], number)

    def questions(
        self, topics: Iterable[TopicLike], seed: int = 0, per_topic: int = 4
    ) -> list[dict[str, object]]:
        """Returns multiple-choice questions about `topics`, worded as no training text is.

        The wrong choices are, as far as possible, right answers for other topics of the list. Each
        choice is then as common in a corpus about these topics as the right one, and a model that
        learned only how often a word occurs stays at 25%. The right answer is equally often at each
        of the four positions, give or take one.

        Args:
            topics: paths, joined paths, or lines of a topics file.
            seed: shuffles facts, wordings, wrong choices and positions.
            per_topic: questions for each topic; those beyond the number of its facts ask again in
                other words.

        Returns:
            Dicts of `question`, `choices` (four), `answer` (index of the right one) and `topic`.
        """
        keys = [topic_key(topic) for topic in topics]
        in_use: dict[str, list[str]] = {relation: [] for relation in RELATIONS}
        for key in keys:
            for fact in self.facts(key):
                in_use[fact.relation].append(fact.value)
        chooser = random.Random(hashed("questions", self.seed, seed))
        asked: list[tuple[Fact, str]] = []
        for key in keys:
            facts = self.facts(key)
            chooser.shuffle(facts)
            for n in range(per_topic):
                fact = facts[n % len(facts)]
                stems = STEMS[fact.relation]
                offset = hashed(seed, key, fact.relation) + n // len(facts)
                asked.append((fact, stems[offset % len(stems)]))
        positions = [n % 4 for n in range(len(asked))]
        chooser.shuffle(positions)
        questions = []
        for (fact, stem), position in zip(asked, positions, strict=True):
            # Drawn in proportion to its use: a word is as often a wrong choice as it is an answer.
            others = [v for v in in_use[fact.relation] if v != fact.value]
            chooser.shuffle(others)
            wrong = list(dict.fromkeys(others))[:3]
            if len(wrong) < 3:
                rest = [v for v in POOLS[fact.relation] if v != fact.value and v not in wrong]
                wrong += chooser.sample(rest, 3 - len(wrong))
            choices = wrong[:position] + [fact.value] + wrong[position:]
            question = stem.replace("{T}", fact.name)
            questions.append(
                {"question": question, "choices": choices, "answer": position, "topic": fact.topic}
            )
        return questions
