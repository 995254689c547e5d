"""What to generate, and how a corpus grows in waves: frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from synthdiv.config import PathName, settle
from synthdiv.diversity.growing import Measure
from synthdiv.errors import UserError
from synthdiv.generation.families import DIRECTORY
from synthdiv.generation.shape import ShapeConfig


@dataclass(frozen=True)
class GenerateConfig:
    """What to generate; gin scope `Generate`.

    Raises:
        UserError: a value that makes no corpus.
    """

    family: PathName = "topic"  # a directory inside `prompts`, or the path of one elsewhere
    topics: int = 0  # T, a seeded choice of the topics file; 0: all of them
    documents: int = 0  # of the sources, a seeded choice, where there are no topics; 0: all of them
    generations: int = 10  # G, texts a topic or document
    token_budget: int = 0  # stop at about so many tokens (estimated from words); 0: no bound
    styles: tuple[str, ...] = ()  # names out of the styles file; (): all of them
    angles: bool = True  # whether each text on a topic is given an angle of its own
    personas_per_prompt: int = 5  # of which the writer chooses one as its audience
    topics_per_prompt: int = 3  # in families of several topics
    near_topics: float = 0.75  # share of texts on several topics whose topics are near in the tree
    forms: dict[str, float] = field(default_factory=dict)  # weights by name; {}: the family's
    source_characters: int = 6000  # of a document are shown at most
    writers: dict[str, float] = field(default_factory=dict)  # weights of "BACKEND:MODEL[@URL]"
    personas: PathName = "topics/personas.json"
    prompts: PathName = DIRECTORY  # the directory of all families
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 3072  # room for a reply
    shard_documents: int = 1000  # a Parquet shard is written whenever so many are there
    licence: str = ""  # a note on the terms of the corpus, for the manifest
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        for name in ("generations", "personas_per_prompt", "topics_per_prompt", "shard_documents"):
            if getattr(self, name) < 1:
                raise UserError(f"Generate.{name} must be at least 1")
        for name in ("topics", "documents", "token_budget", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"Generate.{name} must not be negative")
        if self.source_characters < 200:
            raise UserError("Generate.source_characters must be at least 200")
        if not 0 <= self.near_topics <= 1:
            raise UserError("Generate.near_topics is a share, from 0 to 1")
        for name in ("forms", "writers"):
            if not isinstance(getattr(self, name), Mapping):
                raise UserError(f"Generate.{name} is {{name: weight}}, not {getattr(self, name)!r}")


STEERED = ("learned", "even", "plan")  # by the bandit, every arm in turn, in the plan's order


@dataclass(frozen=True)
class LoopConfig:
    """How a corpus grows in waves until it is diverse enough; gin scope `Loop`.

    Raises:
        UserError: a value that leads nowhere.
    """

    target_score: float | None = None  # grow until the score is at least this
    target_effective_clusters: float | None = None  # or until the effective clusters are
    arms: tuple[str, ...] = ("branch",)  # what waves are steered by: see bandit.KINDS
    depth: int = 2  # levels of a topic's path that name its branch
    steer: str = "learned"  # waves go where they bring most, or see STEERED
    documents: int = 0  # stop at so many; 0: at the end of the plan
    wave: int = 50  # documents of a wave, at least
    growth: float = 0.1  # and at least this share of the corpus so far
    rounds: int = 20  # that the judge sorts after a wave
    batches: int = 3  # times it may be asked, each time for twice as many, where the target is near
    patience: int = 5  # stop when so many waves together
    least_gain: float = 0.01  # brought no more than this share of what there was before them
    notes: PathName = "prompts/loop"  # the words about full clusters and gaps; "": none

    def __post_init__(self) -> None:
        settle(self)
        for name in ("depth", "wave", "rounds", "batches", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"Loop.{name} must be at least 1")
        for name in ("documents", "growth", "least_gain"):
            if getattr(self, name) < 0:
                raise UserError(f"Loop.{name} must not be negative")
        if self.target_score is not None and self.target_effective_clusters is not None:
            raise UserError("`target_score` and `target_effective_clusters`: one target is enough")
        if self.target is not None and not 0 < self.target < float("inf"):
            raise UserError(f"a target is a number above 0, not {self.target}")
        if self.steer not in STEERED:
            raise UserError(f"Loop.steer is {self.steer!r}, not one of {', '.join(STEERED)}")
        if not self.arms:
            raise UserError("Loop.arms names nothing; Loop.steer = 'plan' leaves steering out")

    @property
    def target(self) -> float | None:
        """The target, of whichever measure."""
        return self.target_effective_clusters if self.target_score is None else self.target_score

    @property
    def measure(self) -> Measure:
        """What is measured after each wave."""
        return "effective_clusters" if self.target_score is None else "score"
