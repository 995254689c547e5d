"""The offline writer: answers the generation prompts without a language model.

It sees what a server sees, the messages and the JSON schema, finds topics, keywords, style and
personas in the fenced parts of the prompt, and writes what the schema asks for: passages that state
the world's facts about the topics (world.py) in the style's sentences (phrases.py), and questions
about some of the facts. Two generations of a topic have different seeds and so different words; the
facts stay the same.

The task is that of section 3.2 of arXiv 2410.15226.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from synthdiv.diversity.reading import commonness_weight
from synthdiv.generation.schemas import TopicList
from synthdiv.llm.fences import fenced
from synthdiv.llm.structured import wire_schema
from synthdiv.offline import phrases
from synthdiv.offline.topic_extraction import extract_topics
from synthdiv.offline.world import Fact, World, hashed

Message = Mapping[str, str]

WORLD = World()  # a server has one world


def write_lesson(messages: Sequence[Message], schema: Mapping[str, Any], seed: int) -> str:
    """Answers a prompt for passages and questions.

    Args:
        messages: the chat; the user's messages fence topics, keywords, style and personas.
        schema: says how many passages and questions there are to be, and whether to choose an
            audience among the personas.
        seed: another seed gives another wording.

    Returns:
        The reply as JSON.

    Raises:
        ValueError: the prompt names no topic.
    """
    told = _told(messages)
    wanted = schema.get("properties", {})
    random = Random(hashed(seed, *told.topics))
    lesson = _Lesson(random, _style(told.style))
    reply: dict[str, Any] = {}
    if told.personas and "audience" in wanted:
        reply["audience"] = lesson.turn_to(told)
    passages = wanted.get("passages", {}).get("minItems", 3)
    stated, facts = lesson.passages(told.topics, told.keywords, passages)
    if "title" in wanted:
        reply["title"] = " and ".join(topic.split("/")[-1] for topic in told.topics)
    reply["passages"] = stated
    for kind, ask in (("choice_questions", lesson.choice), ("open_questions", lesson.question)):
        if kind in wanted:
            number = wanted[kind].get("minItems", 1)
            asked = random.sample(facts, min(number, len(facts)))
            asked += random.choices(facts, k=number - len(asked))
            reply[kind] = [ask(fact) for fact in asked]
    return json.dumps(reply, ensure_ascii=False)


def write_task(messages: Sequence[Message], schema: Mapping[str, Any], seed: int) -> str:
    """Answers a prompt for an instruction with its input and its output; see `write_lesson`."""
    told = _told(messages)
    random = Random(hashed(seed, *told.topics))
    lesson = _Lesson(random, "textbook")
    reply: dict[str, Any] = {}
    if told.personas and "audience" in schema.get("properties", {}):
        reply["audience"] = lesson.turn_to(told)
    stated, facts = lesson.passages(told.topics, told.keywords, 1)
    asked = lesson.question(random.choice(facts))
    reply["instruction"] = asked["question"]
    reply["input"] = stated[0]["text"] if random.random() < 0.5 else ""
    reply["output"] = f"{asked['answer']}. {asked['explanation']}"
    return json.dumps(reply, ensure_ascii=False)


def retell(messages: Sequence[Message], schema: Mapping[str, Any], seed: int) -> str:
    """Answers a prompt for a document in another form: its sentences, framed and cut to the form.

    Args:
        messages: the chat; the user's messages fence a source and a form.
        schema: says whether there is to be a title.
        seed: another seed chooses other sentences and other words.

    Returns:
        The reply as JSON.

    Raises:
        ValueError: the prompt shows no source.
    """
    text = "\n".join(message["content"] for message in messages if message["role"] == "user")
    parts = {part.kind: part.text for part in fenced(text)}
    if "source" not in parts:
        raise ValueError("the prompt shows no source")
    form = parts.get("form", "").partition(":")[0]
    random = Random(hashed(seed, form, parts["source"]))
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", parts["source"]) if len(s.split()) > 3]
    sentences = sentences or [parts["source"]]
    first = random.randrange(max(len(sentences) - 11, 1))
    lines = []
    for number, sentence in enumerate(sentences[first : first + 12], 1):
        words = re.findall(r"[^\W\d_]{5,}", sentence) or [sentence.split()[0]]
        about = max(words, key=lambda word: (commonness_weight(word.lower()), len(word)))
        asked = _fill(random.choice(phrases.RETOLD["asked"]), random, W=about)
        said = _fill(random.choice(phrases.RETOLD["said"]), random, S=sentence)
        lines.append(
            {
                "questions and answers": f"{asked}\n{said}\n",
                "table": f"| {about} | {sentence} |",
                "tutorial": f"{number}. {said}",
                "dialogue": f"Ada: {asked}\nBen: {said}",
                "lecture notes": f"- {said}",
                "glossary": f"{about}: {sentence}",
            }.get(form, said)
        )
    reply = {"text": (" " if form.endswith(("article", "argument")) else "\n").join(lines)}
    if "title" in schema.get("properties", {}):
        subject = " ".join(sentences[0].split()[:4]).rstrip(".,;:")
        reply = {"title": _fill(random.choice(phrases.RETOLD["opened"]), random, T=subject)} | reply
    return json.dumps(reply, ensure_ascii=False)


@dataclass(frozen=True)
class _Told:
    """What a prompt shows."""

    topics: list[str]
    keywords: list[list[str]]
    style: list[str]
    personas: list[str]


def _told(messages: Sequence[Message]) -> _Told:
    text = "\n".join(message["content"] for message in messages if message["role"] == "user")
    told: dict[str, list[str]] = {"topic": [], "keywords": [], "style": [], "persona": []}
    for part in fenced(text):
        told.setdefault(part.kind, []).append(part.text)
    topics = told["topic"]
    if not topics:
        raise ValueError("the prompt names no topic")
    keywords = [[k.strip() for k in t.split(";") if k.strip()] for t in told["keywords"]]
    keywords += [[]] * (len(topics) - len(keywords))
    return _Told(topics, keywords, told["style"], told["persona"])


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
        self.interest = ""
        self.steps = 0

    def turn_to(self, told: _Told) -> int:
        """Chooses the audience, whose interest and voice colour the rest; returns its number."""
        about = [*told.topics, *(word for words in told.keywords for word in words)]
        chosen = _audience(told.personas, about, self.random)
        persona = told.personas[chosen]
        self.voice = phrases.VOICES[hashed(persona) % len(phrases.VOICES)]
        # The word after "who" is a verb, which does not fit where an interest is named.
        cares = re.split(r"\bwho\b", persona.lower(), maxsplit=1)[-1]
        words = re.findall(r"[a-z]{4,}", re.sub(r"(^|\band) *\w+", "", cares))
        own = [word for word in words if commonness_weight(word) == 1.0]
        self.interest = self.random.choice(own or words or ["daily work"])
        return chosen + 1

    def passages(
        self, topics: list[str], keywords: list[list[str]], number: int
    ) -> tuple[list[dict[str, Any]], list[Fact]]:
        """Returns passages on the topics in turn, and the facts that they state."""
        paths = [topic.split("/") for topic in topics]
        terms = [ks or [path[-1]] for ks, path in zip(keywords, paths, strict=False)]
        # More topics than passages: a passage opens with one topic and states others' facts, too.
        to_tell: list[list[Fact]] = [[] for _ in range(number)]
        for which, topic in enumerate(topics):
            places = list(range(which % number, number, len(topics)))
            facts = WORLD.facts(topic)
            for n, fact in enumerate(self.random.sample(facts, len(facts))):
                to_tell[places[n % len(places)]].append(fact)
        passages = []
        for n, facts in enumerate(to_tell):
            which = n % len(paths)
            other = paths[(which + 1) % len(paths)][-1] if len(paths) > 1 else ""
            passages.append(self._passage(paths[which], terms[which], facts, n, number, other))
        return passages, [fact for facts in to_tell for fact in facts]

    def _passage(
        self, path: list[str], terms: list[str], facts: list[Fact], n: int, last: int, other: str
    ) -> dict[str, Any]:
        slots = {"T": path[-1], "P": path[-2] if len(path) > 1 else path[0], "U": other}
        pair = self.random.sample(terms, 2) if len(terms) > 1 else [terms[0], slots["P"]]
        slots |= {"K": pair[0], "L": pair[1], "W": self.interest}
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

    def choice(self, fact: Fact) -> dict[str, Any]:
        """A multiple-choice question about a fact."""
        options = [fact.value, *WORLD.distractors(fact, self.random)]
        self.random.shuffle(options)
        asked = self.question(fact)
        right = options.index(fact.value) + 1
        return {"question": asked["question"], "options": options, "answer": right} | {
            "explanation": asked["explanation"]
        }

    def question(self, fact: Fact) -> dict[str, Any]:
        """A question about a fact, its answer and an explanation."""
        asked = phrases.expand(self.random.choice(phrases.ASKED[fact.relation]), self.random)
        explained = self.random.choice(phrases.EXPLAINED)
        return {
            "question": asked.replace("{T}", fact.name),
            "answer": fact.value,
            "explanation": _fill(
                explained, self.random, C=self._clause(fact), T=fact.name, V=fact.value
            ),
        }


HANDLERS: dict[str, Callable[[Sequence[Message], Mapping[str, Any], int], str]] = {
    "Lesson": write_lesson,
    "Task": write_task,
    "Retelling": retell,
    wire_schema(TopicList)["title"]: extract_topics,
}
"""By the title of the schema."""
