"""The plan of a corpus: which prompts are sent, and which document a reply becomes.

A corpus is T topics, or documents, times G generations under one prompt family (section 3.2 of
arXiv 2410.15226). Requests are numbered generation by generation, so that a corpus cut short by its
token budget still has its topics in equal parts. Each can be made from its number alone.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from synthdiv import config as configuration
from synthdiv import files
from synthdiv.errors import UserError, closest
from synthdiv.generation.angles import FOCUS
from synthdiv.generation.chance import Chance
from synthdiv.generation.config import GenerateConfig
from synthdiv.generation.families import Family, weights
from synthdiv.generation.grounds import Grounds
from synthdiv.generation.personas import Composed, personas_sha256, read_personas
from synthdiv.generation.replies import example
from synthdiv.generation.seeds import Form, Style, read_styles
from synthdiv.generation.shape import Shape, Shapes
from synthdiv.generation.sources import Source, Sources
from synthdiv.generation.topics import Topic, Topics, Tree, choose_topics, read_topics
from synthdiv.llm import Request, Sampling

if TYPE_CHECKING:
    from synthdiv.generation.writers import Writers

STAGE = "generation"

_example = functools.cache(example)


class Assignment(NamedTuple):
    """What one request is about, and what its document will say it came from."""

    number: int  # of the request
    key: str  # of its topic or document
    generation: int  # how many texts on it came before
    seed: int  # of the sampling
    topics: tuple[Topic, ...]
    source: Source | None
    style: Style | None
    form: Form | None
    personas: tuple[str, ...]
    angle: dict[str, str]
    shape: Shape


class CorpusPlan:
    """A planned corpus: its requests, in order, without any of them sent.

    Args:
        topics: JSONL of topic seeds; None for a family without topics.
        config: what to generate.
        sources: real documents, for a family that shows them.

    Raises:
        UserError: a file cannot be read, or asks for more than there is.
    """

    def __init__(
        self, topics: Path | None, config: GenerateConfig, sources: files.Corpus | None = None
    ) -> None:
        self.config = config
        self.family = Family(config.family, config.prompts)
        shows = self.family.shows
        if shows.source != (sources is not None):
            wants = "needs `sources`, a corpus" if shows.source else "takes no `sources`"
            raise UserError(f"the family {self.family.name!r} {wants}")
        self._sources = Sources(sources, config.source_characters) if sources is not None else None
        self._grounds: Grounds | None = None
        self.topics = Topics.of(())
        self.documents: Sequence[int] = ()
        self._topics_sha256 = ""
        self._of_topics = shows.topics != "none"
        if self._of_topics:
            self._choose_topics(topics)
        elif self._sources is not None:
            self.documents = self._choose_documents(len(self._sources))
        self._tree: Tree | None = None
        if shows.topics == "several":
            self._tree = Tree(self.topics, config.topics_per_prompt - 1)
        self.styles = self._styles() if shows.styles else []
        self.personas: Sequence[str] = ()
        if shows.personas:
            self.personas = read_personas(configuration.find(config.personas))
        self._people = len(self.personas)
        self._personas_at: Callable[[list[int]], Sequence[str]] = (
            self.personas.at
            if isinstance(self.personas, Composed)
            else lambda places: [self.personas[one] for one in places]
        )
        self._shapes = Shapes(config.shape)
        self._replies: dict[tuple[Shape, int], tuple[type[BaseModel], str]] = {}
        self._forms = list(accumulate(weights(self.family.forms, config.forms)))

    def __len__(self) -> int:
        """The number of requests."""
        return self.subjects * self.config.generations

    @functools.cached_property
    def subjects(self) -> int:
        """The number of topics, or of documents where there are no topics."""
        return len(self.topics) or len(self.documents)

    def writer(self, number: int, writers: Writers) -> int:
        """Which of the writers request `number` goes to."""
        if len(self.config.writers) < 2:
            return 0
        generation, key = self._place(number)
        return writers.of(f"{self.config.seed}/writer/{key}/{generation}")

    def request(
        self, number: int, writers: Writers | None = None, note: str = ""
    ) -> Request[BaseModel]:
        """Request `number`: the same one whenever and wherever it is made.

        Args:
            number: from 0.
            writers: who will be asked; each of several has a stage, and so batch files, of its own.
            note: what the prompt says at its end of the texts that there are.
        """
        stage = STAGE
        if writers is not None and len(self.config.writers) > 1:
            stage += f"_{self.writer(number, writers) + 1}"
        return self.request_for(self.assignment(number), stage, note)

    def stages(self) -> list[str]:
        """The stages of all requests."""
        several = len(self.config.writers)
        return [f"{STAGE}_{n + 1}" for n in range(several)] if several > 1 else [STAGE]

    def request_for(
        self, assignment: Assignment, stage: str = STAGE, note: str = ""
    ) -> Request[BaseModel]:
        """The request of an assignment."""
        sampling = Sampling(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
            seed=assignment.seed,
        )
        shown = (assignment.shape, len(assignment.personas))
        known = self._replies.get(shown)
        if known is None:
            made = self.family.replies.of(assignment.shape.counts(shown[1]))
            known = self._replies[shown] = made, _example(made)
        reply, looks = known
        messages = ({"role": "user", "content": self._prompt(assignment, looks) + note},)
        return Request(messages, reply, sampling, stage, assignment.generation)

    def _prompt(self, assignment: Assignment, reply: str) -> str:
        source, style, form = assignment.source, assignment.style, assignment.form
        angle = assignment.angle
        focus = angle.get(FOCUS, "")
        return self.family.prompt(
            assignment.shape,
            reply,
            {
                "topics": [topic.key for topic in assignment.topics],
                "keywords": ["; ".join(topic.keywords) for topic in assignment.topics],
                "source": source.text if source else "",
                "begins": source.begins if source else "",
                "style": f"{style.name}: {style.instruction}" if style else "",
                "form": f"{form.name}: {form.instruction}" if form else "",
                "personas": list(assignment.personas),
                "focus": focus,
                "angle": "\n".join([words for name, words in angle.items() if name != FOCUS]),
            },
        )

    def assignment(self, number: int) -> Assignment:
        """What request `number` is about; takes the same time for any number of topics."""
        generation, place = divmod(number, self.subjects)
        topics: tuple[Topic, ...] = ()
        if self._of_topics:
            topics = (self.topics[place],)
        key = topics[0].key if topics else str(self.documents[place])
        # By the topic itself and not its place, so that a larger corpus agrees; by the family, too,
        # so that two corpora on equal topics do not share what is drawn for them.
        of = self._of(key)
        chance = Chance(f"{of}/{generation}")
        seed, shape = chance.below(1 << 31), self._shapes.draw(chance)
        people = chance.sample(self._people, min(self.config.personas_per_prompt, self._people))
        form = None
        if self.family.forms:
            form = self.family.forms[chance.among(self._forms)]
        if self._tree is not None:
            near = chance.share() < self.config.near_topics
            draw = self._tree.near if near else self._tree.anywhere
            topics += tuple(self.topics.among(draw(place, chance)))
        style = None
        if self.styles:  # every topic goes through the styles in turn, from one of its own
            style = self.styles[(zlib.crc32(of.encode()) + generation) % len(self.styles)]
        angle = {}
        if self.config.angles:
            angle = self.family.angles.of(of, generation, topics[0].keywords if topics else ())
        return Assignment(
            number=number,
            key=key,
            generation=generation,
            seed=seed,
            topics=topics,
            source=self._source(key, place, generation),
            style=style,
            form=form,
            personas=tuple(self._personas_at(people)),
            angle=angle,
            shape=shape,
        )

    def document(self, number: int, reply: BaseModel, model: str, prompt: str) -> dict[str, Any]:
        """The row of the corpus that a valid reply to request `number` becomes.

        Args:
            number: the request's.
            reply: of its class.
            model: who gave it.
            prompt: the hash of what was asked.
        """
        assignment = self.assignment(number)
        told = reply.model_dump()
        of = f"{self._of(assignment.key)}/{assignment.generation}"
        shuffle_options(told, Random(f"{of}/text"))
        shape = {name: getattr(assignment.shape, name) for name in self.family.shows.shape}
        source = assignment.source
        audience = told.get("audience", 0)
        return {
            "id": hashlib.sha256(of.encode()).hexdigest()[:20],
            "text": self.family.text(reply=told, shape=assignment.shape),
            **{name: told.get(name) or "" for name in self.family.shows.columns},
            "topic": " + ".join(topic.key for topic in assignment.topics),
            "keywords": [word for topic in assignment.topics for word in topic.keywords],
            "style": assignment.style.name if assignment.style else "",
            "persona": assignment.personas[audience - 1] if audience else "",
            "template": self.family.name,
            "form": assignment.form.name if assignment.form else "",
            "angle": json.dumps(assignment.angle, ensure_ascii=False),
            "shape": json.dumps(shape),
            "source": source.id if source else "",
            "source_start": source.start if source else 0,
            "model": model,
            "generation": assignment.generation,
            "request": number,
            "seed": assignment.seed,
            "prompt_sha256": prompt,
            "reply": json.dumps(told, ensure_ascii=False),
        }

    def fingerprint(self, writers: Writers) -> dict[str, Any]:
        """What decides the corpus's content: two runs that agree in it may share a directory."""
        # Which topics are chosen follows from the seed: that is no further difference.
        # Prompts and personas count by what the files say, not by where they are.
        elsewhere = ("prompts", "personas", "writers", "shard_documents", "licence")
        return {
            "config": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self.config).items()
                if name not in elsewhere
            },
            "topics_sha256": self._topics_sha256,
            "sources_sha256": self._sources.sha256 if self._sources else "",
            "prompts_sha256": self.family.sha256,
            "personas_sha256": personas_sha256(self.personas),
            "generator": writers.generator,
        }

    def _place(self, number: int) -> tuple[int, str]:
        """Generation of request `number`, and the key of its topic or document."""
        generation, place = divmod(number, self.subjects)
        key = self.topics.key(place) if self._of_topics else str(self.documents[place])
        return generation, key

    def _choose_topics(self, topics: Path | None) -> None:
        config = self.config
        if topics is None:
            raise UserError(f"the family {self.family.name!r} needs `topics`")
        available = read_topics(topics)
        self._topics_sha256 = available.sha256
        if self._sources is not None:
            self._grounds = Grounds(available, self._sources)
            available = available.at(self._grounds.places)
        self.topics = choose_topics(available, config.topics or len(available), config.seed)
        if self.family.shows.topics == "several" and len(self.topics) < config.topics_per_prompt:
            raise UserError(
                f"Generate.topics_per_prompt is {config.topics_per_prompt}, "
                f"and there are {len(self.topics)} topics"
            )

    def _choose_documents(self, available: int) -> Sequence[int]:
        wanted = self.config.documents or available
        if wanted > available:
            raise UserError(f"{wanted} documents wanted, and there are {available}")
        if wanted == available:
            return range(available)
        return sorted(Random(f"documents/{self.config.seed}").sample(range(available), wanted))

    def _source(self, key: str, place: int, generation: int) -> Source | None:
        """The document that a request shows; one that is long is gone through part by part."""
        if self._sources is None:
            return None
        if self._grounds is not None:
            document, part = self._grounds.of(self.topics.row(place), generation)
            return self._sources.part(document, part)
        first = zlib.crc32(self._of(key).encode())
        return self._sources.part(self.documents[place], first + generation)

    def _styles(self) -> list[Style]:
        styles = read_styles(self.family.shared / "styles.jsonl")
        for name in self.config.styles:
            if name not in styles:
                raise UserError(f"no style {name!r}{closest(name, styles)}")
        return [styles[name] for name in self.config.styles or styles]

    def _of(self, key: str) -> str:
        """What is drawn for a topic or document is drawn for this."""
        return f"{self.config.seed}/{self.family.name}/{key}"


def shuffle_options(reply: dict[str, Any], random: Random) -> None:
    """Puts the options of each multiple-choice question in another order, in place.

    The answer stays the right one's number, from 1.
    """
    for question in reply.get("choice_questions") or ():
        options: list[str] = question["options"]
        right = options[question["answer"] - 1]
        random.shuffle(options)
        question["answer"] = options.index(right) + 1
