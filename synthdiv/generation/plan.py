"""The plan of a corpus: which prompts are sent, and which document a reply becomes.

A corpus is T topics times G generations per topic under one of four prompt families (section 3.2 of
arXiv 2410.15226). Requests are numbered generation by generation, so that a corpus cut short by its
token budget still has its topics in equal parts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from synthdiv import config as configuration
from synthdiv import files
from synthdiv.config import PathName, settle
from synthdiv.errors import UserError, closest
from synthdiv.generation.prompts import Prompts
from synthdiv.generation.schemas import AddressedLesson, AnyLesson, Lesson, training_text
from synthdiv.generation.seeds import (
    Style,
    Topic,
    choose_topics,
    read_personas,
    read_styles,
    read_topics,
)
from synthdiv.llm import Request, Sampling

if TYPE_CHECKING:
    from synthdiv.llm import Session

STAGE = "generation"

# What each family varies: styles, personas, several topics in one text.
FAMILIES: dict[str, tuple[bool, bool, bool]] = {
    "topic": (False, False, False),
    "topic_styles": (True, False, False),
    "topic_styles_persona": (True, True, False),
    "multi_topic_styles_persona": (True, True, True),
}


@dataclass(frozen=True)
class GenerateConfig:
    """What to generate; gin scope `Generate`.

    Raises:
        UserError: a value that makes no corpus.
    """

    family: str = "topic"  # one of FAMILIES
    topics: int = 0  # T, a seeded choice of the topics file; 0: all of them
    generations: int = 10  # G, texts a topic
    token_budget: int = 0  # stop at about so many tokens (estimated from words); 0: no bound
    styles: tuple[str, ...] = ()  # names out of the styles file; (): all of them
    personas_per_prompt: int = 5  # of which the writer chooses one as its audience
    topics_per_prompt: int = 3  # in the multi-topic family
    personas: PathName = "topics/personas.jsonl"
    prompts: PathName = "prompts/generation"  # directory of the templates and of styles.jsonl
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 3072  # room for a reply
    shard_documents: int = 1000  # a Parquet shard is written whenever so many are there
    licence: str = ""  # a note on the terms of the corpus, for the manifest
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        if self.family not in FAMILIES:
            raise UserError(
                f"Generate.family {self.family!r} is none of {', '.join(FAMILIES)}"
                f"{closest(self.family, FAMILIES)}"
            )
        for name in ("generations", "personas_per_prompt", "topics_per_prompt", "shard_documents"):
            if getattr(self, name) < 1:
                raise UserError(f"Generate.{name} must be at least 1")
        for name in ("topics", "token_budget", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"Generate.{name} must not be negative")


@dataclass(frozen=True)
class _Assignment:
    """What one request is about, and what its document will say it came from."""

    number: int  # of the request
    generation: int  # how many texts on the topic came before
    topics: tuple[Topic, ...]
    style: Style | None
    personas: tuple[str, ...]


class CorpusPlan:
    """A planned corpus: its requests, in order, without any of them sent.

    Args:
        topics: JSONL of topic seeds.
        config: what to generate.

    Raises:
        UserError: a file cannot be read, or asks for more topics or styles than there are.
    """

    def __init__(self, topics: Path, config: GenerateConfig):
        self.config = config
        available = read_topics(topics)
        listed = sorted(repr((topic.path, topic.keywords)) for topic in available)
        self._topics_sha256 = files.sha256_text("\n".join(listed))
        self.topics = choose_topics(available, config.topics or len(available), config.seed)
        self.prompts = Prompts(config.prompts)
        with_styles, with_personas, self.several = FAMILIES[config.family]
        self.styles = self._styles() if with_styles else []
        self.personas = read_personas(configuration.find(config.personas)) if with_personas else []
        if self.several and len(self.topics) < config.topics_per_prompt:
            raise UserError(
                f"Generate.topics_per_prompt is {config.topics_per_prompt}, "
                f"and there are {len(self.topics)} topics"
            )
        self.schema: type[AnyLesson] = AddressedLesson if with_personas else Lesson

    def __len__(self) -> int:
        """The number of requests: T times G."""
        return len(self.topics) * self.config.generations

    def request(self, number: int) -> Request[AnyLesson]:
        """Request `number`: the same one whenever and wherever it is made."""
        assignment = self.assignment(number)
        prompt = self.prompts.lesson(
            self.config.family, assignment.topics, assignment.style, assignment.personas
        )
        sampling = Sampling(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
            seed=self._random("sampling", assignment).getrandbits(31),
        )
        messages = ({"role": "user", "content": prompt},)
        shown = len(assignment.personas)

        def check(lesson: AnyLesson) -> str | None:
            """What the schema cannot know: the audience is one of the people that were shown."""
            if isinstance(lesson, AddressedLesson) and lesson.audience > shown:
                return f"audience must be between 1 and {shown}, not {lesson.audience}"
            return None

        return Request(messages, self.schema, sampling, STAGE, assignment.generation, check)

    def assignment(self, number: int) -> _Assignment:
        """What request `number` is about."""
        generation, place = divmod(number, len(self.topics))
        bare = _Assignment(number, generation, (self.topics[place],), None, ())
        random = self._random("assignment", bare)
        topics = bare.topics
        if self.several:
            others = [topic for topic in self.topics if topic is not topics[0]]
            topics += tuple(random.sample(others, self.config.topics_per_prompt - 1))
        style = None
        if self.styles:  # every topic goes through the styles in turn, from one of its own
            first = self._random("style", dataclasses.replace(bare, generation=0)).getrandbits(16)
            style = self.styles[(first + generation) % len(self.styles)]
        shown = min(self.config.personas_per_prompt, len(self.personas))
        return _Assignment(
            number, generation, topics, style, tuple(random.sample(self.personas, shown))
        )

    def document(self, number: int, lesson: AnyLesson, model: str) -> dict[str, Any]:
        """The row of the corpus that a valid reply to request `number` becomes."""
        assignment = self.assignment(number)
        first = assignment.topics[0]
        audience = ""
        if isinstance(lesson, AddressedLesson):
            audience = assignment.personas[lesson.audience - 1]
        identity = f"{self.config.seed}/{self.config.family}/{first.key}/{assignment.generation}"
        return {
            "id": hashlib.sha256(identity.encode()).hexdigest()[:20],
            "text": training_text(lesson),
            "topic": " + ".join(topic.key for topic in assignment.topics),
            "keywords": [word for topic in assignment.topics for word in topic.keywords],
            "style": assignment.style.name if assignment.style else "",
            "persona": audience,
            "template": self.config.family,
            "model": model,
            "generation": assignment.generation,
            "request": number,
            "concepts": [c for passage in lesson.passages for c in passage.concepts],
            "question": lesson.question.question,
            "options": lesson.question.options,
            "answer": lesson.question.answer,
        }

    def fingerprint(self, session: Session) -> dict[str, Any]:
        """What decides the corpus's content: two runs that agree in it may share a directory."""
        # Which topics are chosen follows from the seed: that is no further difference.
        # Prompts and personas count by what the files say, not by where they are.
        elsewhere = ("prompts", "personas", "shard_documents", "licence")
        return {
            "config": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self.config).items()
                if name not in elsewhere
            },
            "topics_sha256": self._topics_sha256,
            "prompts_sha256": self.prompts.sha256,
            "personas_sha256": files.sha256_text("\n".join(self.personas)),
            "generator": {"backend": session.backend, "model": session.model},
        }

    def _styles(self) -> list[Style]:
        styles = read_styles(self.prompts.directory / "styles.jsonl")
        for name in self.config.styles:
            if name not in styles:
                raise UserError(f"no style {name!r}{closest(name, styles)}")
        return [styles[name] for name in self.config.styles or styles]

    def _random(self, purpose: str, assignment: _Assignment) -> Random:
        """Randomness by the topic itself and not its place, so that a larger corpus agrees."""
        key = assignment.topics[0].key
        return Random(f"{purpose}/{self.config.seed}/{key}/{assignment.generation}")
