"""The graph of a study: its stages, what each depends on, and what it makes."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from synthdiv.config import find
from synthdiv.files import sha256_file
from synthdiv.llm import LLMConfig
from synthdiv.study.config import STDLIB, Cell, Plan, Run
from synthdiv.study.stages import Stage, Stages
from synthdiv.study.work import Work, tokenizer_from

REAL, TOKENIZER, REAL_TOKENS = "shared: real text", "shared: tokenizer", "shared: real tokens"
QUESTIONS, INSTRUCTIONS = "shared: questions", "shared: instructions"
_ONCE = "shared: real text, questions and tokenizer"  # what they were together


def make_graph(plan: Plan, workdir: Path, inputs: Mapping[str, str]) -> Stages:
    """Returns all stages of a study.

    Args:
        plan: the study.
        workdir: its directory.
        inputs: a hash of each file that it is given, as `inputs_of` has them.
    """
    return Stages(workdir, list(_Graph(plan, Work(plan, workdir), inputs).stages()))


class _Graph:
    def __init__(self, plan: Plan, work: Work, inputs: Mapping[str, str]) -> None:
        self.plan, self.work, self.inputs = plan, work, inputs

    def stages(self) -> list[Stage]:
        """What cells share, then corpora and scores, then the training runs."""
        plan = self.plan
        made = [cell for cell in plan.cells if not cell.config.corpus]
        return [
            *self._given(),
            *(self._cut(cell) if cell.config.packages else self._generate(cell) for cell in made),
            *(self._score(cell) for cell in plan.cells),
            self._tokenizer(),
            self._real_tokens(),
            *(self._tokens(cell) for cell in plan.cells),
            *(stage for run in plan.runs() for stage in self._run(run)),
        ]

    def _given(self) -> list[Stage]:
        """What is made of Python's documentation and of the stand-in's world, if it is wanted."""
        plan, config, work = self.plan, self.plan.config, self.work
        sources = [cell.config.sources for cell in plan.cells]
        found = []
        if STDLIB in (*config.real, *config.heldout, *sources, *config.tokenizer_from):
            found.append(Stage(REAL, work.real_text, {}, (), ["shared/real"], formerly=_ONCE))
        if config.asks_the_world:
            settings = {
                "topics": self.inputs[str(config.topics)],
                "question_topics": config.question_topics,
                "questions_per_topic": config.questions_per_topic,
                "seed": config.seed,
            }
            made = ["shared/questions"]
            found.append(Stage(QUESTIONS, work.questions, settings, (), made, formerly=_ONCE))
        if "sft" in config.phases and config.instructions == STDLIB:
            settings = {"max_instructions": config.max_instructions, "seed": config.seed}
            made = ["shared/instructions.jsonl"]
            found.append(Stage(INSTRUCTIONS, work.instructions, settings, (), made, formerly=_ONCE))
        return found

    def _made(self, *cells: Cell) -> list[str]:
        """The stages that make the corpora of `cells`; those that exist have none."""
        return [
            f"{cell.name}: {'cut' if cell.config.packages else 'generate'}"
            for cell in cells
            if not cell.config.corpus
        ]

    def _content(self, cell: Cell) -> dict[str, Any]:
        """What an existing corpus is."""
        config = cell.config
        if not config.corpus:
            return {}
        where = {"text_column": config.text_column, "text_template": config.text_template}
        return {"corpus": self.inputs[str(config.corpus)]} | where

    def _cut(self, cell: Cell) -> Stage:
        config = cell.config
        settings = {"packages": config.packages, "pages": config.pages}
        return Stage(
            f"{cell.name}: cut",
            partial(self.work.cut, cell),
            settings | {"seed": self.plan.config.seed},
            (),
            [f"{cell.name}/corpus"],
        )

    def _generate(self, cell: Cell) -> Stage:
        from synthdiv.generation.families import Family

        config, sources = cell.generate, cell.config.sources
        elsewhere = ("prompts", "shard_documents", "licence", "personas")
        said = dataclasses.asdict(config).items()
        settings = {name: value for name, value in said if name not in elsewhere} | {
            "prompts": Family(config.family, config.prompts).sha256,
            "personas": sha256_file(find(config.personas)),
            "topics": self.inputs[str(self.plan.config.topics)],
            "writer": [_whom(writer) for writer in cell.writers],
        }
        if sources:
            settings["sources"] = self.inputs.get(str(sources), STDLIB)
            settings["sources_text"] = [cell.config.text_column, cell.config.text_template]
        return Stage(
            f"{cell.name}: generate",
            partial(self.work.generate, cell),
            settings,
            [REAL] if sources == STDLIB else [],
            [f"{cell.name}/corpus"],
            asks=any(_limited(writer) for writer in cell.writers),
        )

    def _score(self, cell: Cell) -> Stage:
        from synthdiv.diversity.prompts import load_prompts

        config, judge = self.plan.score, self.plan.judge
        settings = dataclasses.asdict(config) | {
            "prompts": load_prompts(config.prompts).sha256,
            "criteria": self.inputs.get(str(config.criteria), ""),
            "judge": _whom(judge),
        }
        return Stage(
            f"{cell.name}: score",
            partial(self.work.score, cell),
            settings | self._content(cell),
            self._made(cell),
            [f"{cell.name}/score"],
            asks=_limited(judge),
        )

    def _real_stage(self) -> list[str]:
        return [REAL] if STDLIB in self.plan.config.real else []

    def _tokenizer(self) -> Stage:
        choice, plan = self.plan.tokenizer, self.plan
        needs: list[str] = []
        settings: dict[str, Any] = {"path": self.inputs.get(str(choice.path), str(choice.path))}
        if not choice.path:
            names = tokenizer_from(plan)
            cells = [cell for cell in plan.cells if cell.name in names]
            settings = dataclasses.asdict(choice) | {
                "from": [self.inputs.get(name, name) for name in names],
                "corpora": [self._content(cell) for cell in cells],
            }
            needs = [*([REAL] if STDLIB in names else []), *self._made(*cells)]
        return Stage(
            TOKENIZER, self.work.tokenizer, settings, needs, ["shared/tokenizer"], formerly=_ONCE
        )

    def _packing(self) -> dict[str, Any]:
        config = dataclasses.asdict(self.plan.tokenize)
        return {name: value for name, value in config.items() if name != "workers"}

    def _real_tokens(self) -> Stage:
        texts = [self.inputs.get(name, name) for name in self.plan.config.real]
        return Stage(
            REAL_TOKENS,
            self.work.real_tokens,
            self._packing() | {"real": texts},
            [*self._real_stage(), TOKENIZER],
            ["shared/tokens"] if texts else [],
            formerly="shared: tokens",
        )

    def _tokens(self, cell: Cell) -> Stage:
        return Stage(
            f"{cell.name}: tokens",
            partial(self.work.tokens, cell),
            self._packing() | self._content(cell),
            [*self._made(cell), TOKENIZER],
            [f"{cell.name}/tokens"],
            formerly="shared: tokens",
        )

    def _run(self, run: Run) -> list[Stage]:
        """Pre-training, fine-tuning, and the evaluation of both."""
        from synthdiv.training.work import settings_of

        plan, config, work = self.plan, self.plan.config, self.work
        reads = {
            "synthetic_tokens": run.mixture.synthetic_tokens,
            "real_tokens": run.mixture.real_tokens,
            "real_shares": config.real_shares,
        }
        tokens = [f"{run.cell.name}: tokens"] if run.mixture.synthetic_tokens else []
        tokens += [REAL_TOKENS] if run.mixture.real_tokens else []
        stages = [
            Stage(
                f"{run.name} pretrain",
                partial(work.pretrain, run),
                settings_of(run.model.pretrain) | reads,
                tokens,
                [f"{run.folder}/pretrain"],
                run=run.number,
            )
        ]
        if "sft" in config.phases:
            template = run.model.sft.template
            settings = {"template": template.source, "system": template.system}
            made = [INSTRUCTIONS] if config.instructions == STDLIB else []
            settings["instructions"] = self.inputs.get(str(config.instructions), STDLIB)
            stages.append(
                Stage(
                    f"{run.name} sft",
                    partial(work.fine_tune, run),
                    settings_of(run.model.sft) | settings,
                    [f"{run.name} pretrain", *made],
                    [f"{run.folder}/sft"],
                    run=run.number,
                )
            )
        asked = dataclasses.asdict(plan.evaluate)
        asked |= {"tasks": config.tasks, "data": self.inputs.get(str(config.data_dir), "")}
        asked["heldout"] = [self.inputs.get(name, name) for name in config.heldout]
        given = [QUESTIONS] if config.asks_the_world else []
        given += [REAL] if STDLIB in config.heldout else []
        for phase in config.phases:
            # Versions that measured accuracy alone called it "evaluate".
            stages.append(
                Stage(
                    f"{run.name} measure {phase}",
                    partial(work.evaluate, run, phase),
                    asked,
                    [f"{run.name} {phase}", *given],
                    [f"{run.folder}/{phase}.json"],
                    run=run.number,
                )
            )
        return stages


def _whom(config: LLMConfig) -> list[Any]:
    """Who is asked, as far as it decides the replies."""
    return [config.backend, config.model, config.extra]


def _limited(config: LLMConfig) -> bool:
    """Whether asking costs, is limited in rate, or is capped."""
    caps = (config.max_cost_usd, config.max_calls)
    return config.backend != "offline" or caps != (None, None)
