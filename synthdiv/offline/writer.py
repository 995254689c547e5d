"""The offline writer: answers the generation prompts without a language model.

It sees what a server sees, the messages and the JSON schema, finds topics, keywords, style and
personas in the fenced parts of the prompt, and writes what the schema asks for: passages that state
the world's facts about the topics (world.py) in the style's sentences (phrases.py), and one
multiple-choice question about one of the facts. Two generations of a topic have different seeds and
so different words; the facts stay the same.

The task is that of section 3.2 of arXiv 2410.15226.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from pydantic import BaseModel

from synthdiv.diversity.reading import commonness_weight
from synthdiv.generation.schemas import AddressedLesson, Lesson, TopicList
from synthdiv.llm.fences import fenced
from synthdiv.offline import phrases
from synthdiv.offline.topic_extraction import extract_topics
from synthdiv.offline.world import Fact, World, hashed

Message = Mapping[str, str]

WORLD = World()  # a server has one world


def write_lesson(messages: Sequence[Message], schema: Mapping[str, Any], seed: int) -> str:
    """Answers a prompt for passages and a question.

    Args:
        messages: the chat; the user's messages fence topics, keywords, style and personas.
        schema: its properties say whether to choose an audience among the personas.
        seed: another seed gives another wording.

    Returns:
        The reply as JSON.

    Raises:
        ValueError: the prompt names no topic.
    """
    text = "\n".join(message["content"] for message in messages if message["role"] == "user")
    told: dict[str, list[str]] = {"topic": [], "keywords": [], "style": [], "persona": []}
    for part in fenced(text):
        told.setdefault(part.kind, []).append(part.text)
    topics, personas = told["topic"], told["persona"]
    if not topics:
        raise ValueError("the prompt names no topic")
    keywords = [[k.strip() for k in t.split(";") if k.strip()] for t in told["keywords"]]
    keywords += [[]] * (len(topics) - len(keywords))
    random = Random(hashed(seed, *topics))
    lesson = _Lesson(random, _style(told["style"]))
    reply: dict[str, Any] = {}
    if personas and "audience" in schema.get("properties", {}):
        chosen = _audience(personas, [*topics, *(k for ks in keywords for k in ks)], random)
        lesson.address(personas[chosen])
        reply["audience"] = chosen + 1
    reply |= lesson.write(topics, keywords)
    return json.dumps(reply, ensure_ascii=False)


def _style(styles: list[str]) -> str:
    """The name of our style that is nearest to the one asked for; textbook if none is asked for."""
    if not styles:
        return "textbook"
    asked = styles[0].lower()
    for name in sorted(phrases.STYLES, key=len, reverse=True):
        if asked.startswith(name):
            return name
    words = set(re.findall(r"\w+", asked))
    names = list(phrases.STYLES)
    shared = [len(words & set(name.split())) for name in names]
    return names[shared.index(max(shared))] if max(shared) else names[hashed(asked) % len(names)]


def _audience(personas: list[str], about: list[str], random: Random) -> int:
    """Position of a persona that shares most words with the topics; ties are drawn."""
    words = set(re.findall(r"\w{4,}", " ".join(about).lower()))
    shared = [len(words & set(re.findall(r"\w{4,}", p.lower()))) for p in personas]
    best = [i for i, n in enumerate(shared) if n == max(shared)]
    return random.choice(best)


def _fill(template: str, random: Random, **slots: str) -> str:
    sentence = phrases.expand(template, random)
    for slot, value in slots.items():
        sentence = sentence.replace("{" + slot + "}", value)
    return sentence[0].upper() + sentence[1:]


class _Lesson:
    """Writes one reply; holds what all its sentences share."""

    def __init__(self, random: Random, style: str) -> None:
        self.random = random
        self.style = style
        self.frames = phrases.STYLES[style]
        self.voice: list[str] | None = None
        self.audience = self.interest = ""
        self.steps = 0

    def address(self, persona: str) -> None:
        """Turns everything that follows to `persona`, in the voice that it always gets."""
        self.voice = phrases.VOICES[hashed(persona) % len(phrases.VOICES)]
        self.audience = re.split(r"[,.;]| who | that | with ", persona.strip(), maxsplit=1)[0]
        self.audience = self.audience[:1].lower() + self.audience[1:]
        # The word after "who" is a verb, which does not fit where an interest is named.
        words = re.findall(r"[a-z]{4,}", re.sub(r"\b(who|and) \w+", "", persona.lower()))
        own = [word for word in words if commonness_weight(word) == 1.0]
        self.interest = self.random.choice(own or words or ["daily work"])

    def write(self, topics: list[str], keywords: list[list[str]]) -> dict[str, Any]:
        """Returns passages of increasing nuance, on the topics in turn, and a question."""
        number = max(self.random.choice((3, 3, 3, 4)), min(len(topics), 5))
        paths = [topic.split("/") for topic in topics]
        terms = [ks or [path[-1]] for ks, path in zip(keywords, paths, strict=False)]
        to_tell = [WORLD.facts(topic) for topic in topics]
        told: list[Fact] = []
        passages = []
        for n in range(number):
            which = n % len(paths)
            turns_left = len(range(n, number, len(paths)))
            share = -(-len(to_tell[which]) // turns_left)
            tell = self.random.sample(to_tell[which], share)
            to_tell[which] = [fact for fact in to_tell[which] if fact not in tell]
            other = paths[(which + 1) % len(paths)][-1] if len(paths) > 1 else ""
            passages.append(self._passage(paths[which], terms[which], tell, n, number, other))
            told += tell
        return {"passages": passages, "question": self._question(self.random.choice(told))}

    def _passage(
        self, path: list[str], terms: list[str], facts: list[Fact], n: int, last: int, other: str
    ) -> dict[str, Any]:
        slots = {"T": path[-1], "P": path[-2] if len(path) > 1 else path[0], "U": other}
        pair = self.random.sample(terms, 2) if len(terms) > 1 else [terms[0], slots["P"]]
        slots |= {"K": pair[0], "L": pair[1], "A": self.audience, "W": self.interest}
        body = [self._fact(fact) for fact in facts]
        body.insert(self.random.randrange(len(body) + 1), self._say("keyword", slots))
        if self.voice:
            aside = self.voice[0] if n == 0 else self.random.choice(self.voice[1:])
            body.insert(self.random.randrange(len(body)), _fill(aside, self.random, **slots))
        if n == 0 or other:
            body.insert(0, self._say("open", slots))
        if other:
            body.append(_fill(self.random.choice(phrases.JOINS), self.random, **slots))
        if n == last - 1:
            body.append(self._say("close", slots))
        text = ("\n" if self.style == "wikihow" else " ").join(body)
        while "{N}" in text:
            self.steps += 1
            text = text.replace("{N}", f"Step {self.steps}", 1)
        return {"text": text, "concepts": [*pair, *(fact.relation for fact in facts)]}

    def _say(self, kind: str, slots: Mapping[str, str]) -> str:
        template = self.random.choice(self.frames[kind])
        return _fill(template, self.random, **slots)

    def _fact(self, fact: Fact) -> str:
        frame = self.random.choice(self.frames["fact"])
        return _fill(frame, self.random, C=self._clause(fact))

    def _clause(self, fact: Fact) -> str:
        clause = phrases.expand(self.random.choice(phrases.CLAUSES[fact.relation]), self.random)
        return clause.replace("{T}", fact.name).replace("{V}", fact.value)

    def _question(self, fact: Fact) -> dict[str, Any]:
        asked = phrases.expand(self.random.choice(phrases.ASKED[fact.relation]), self.random)
        options = [fact.value, *WORLD.distractors(fact, self.random)]
        self.random.shuffle(options)
        explained = self.random.choice(phrases.EXPLAINED)
        return {
            "question": asked.replace("{T}", fact.name),
            "options": options,
            "answer": fact.value,
            "explanation": _fill(
                explained, self.random, C=self._clause(fact), T=fact.name, V=fact.value
            ),
        }


HANDLERS: dict[type[BaseModel], Callable[[Sequence[Message], Mapping[str, Any], int], str]] = {
    Lesson: write_lesson,
    AddressedLesson: write_lesson,
    TopicList: extract_topics,
}
