"""A judge measured on labelled documents, before its scores are believed.

Criteria or codebooks are gathered once from the whole collection. Under them the judge scores
nested mixtures of 1, 2, 4, ... and all classes, some rounds twice in another order, and some by a
second judge. Prompt directories and sizes of a round are compared on the same documents; each such
way of asking is a trial.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.corpora import gather_from_all
from synthdiv.diversity.criteria import Basis, given_basis
from synthdiv.diversity.documents import Draws, Shown, read_documents
from synthdiv.diversity.inquiry import Inquiry, Sample
from synthdiv.diversity.mixtures import Labelled, read_labels
from synthdiv.diversity.planning import plan_score
from synthdiv.diversity.scoring import spent
from synthdiv.diversity.steps import steps_of
from synthdiv.diversity.trials import Asked, Mixture, trial_json
from synthdiv.diversity.validation_result import ValidationResult
from synthdiv.diversity.work import score_work
from synthdiv.files import Corpus, output_dir
from synthdiv.llm import LLMConfig, Session, in_steps, one_pause
from synthdiv.plans import Plan


@dataclasses.dataclass(frozen=True)
class Validation:
    """What is validated.

    Attributes:
        corpus: the labelled documents.
        labels: columns of classes.
        config: the parameters; `rounds` are those of each mixture.
        prompts: directories to compare; none for that of `config`.
        sizes: documents of a round to compare; none for that of `config`.
    """

    corpus: Corpus
    labels: tuple[str, ...]
    config: ScoreConfig
    prompts: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def trials(self) -> dict[str, list[ScoreConfig]]:
        """The parameters of each trial, by directory of prompts."""
        # What a score adds for its own sake is left out: a control variate, baselines, repeats.
        config = dataclasses.replace(
            self.config, control_rounds=0, repeats=1, target_ci=None, labels=None
        )
        return {
            str(prompts): [
                dataclasses.replace(config, prompts=prompts, documents_per_round=size)
                for size in dict.fromkeys(self.sizes or (config.documents_per_round,))
            ]
            for prompts in self.prompts or (config.prompts,)
        }

    def work(self, judge: LLMConfig) -> dict[str, Any]:
        """What makes a validation what it is, for the claim on its directory.

        More labels, prompts or sizes only add to it.
        """
        asked = score_work([self.corpus], self.config, judge)
        for name in ("prompts", "documents_per_round"):
            del asked["score"][name]
        return asked | {"kind": "validation"}

    def labelled(self) -> list[Labelled]:
        """The classes of each column.

        Raises:
            UserError: as `read_labels`.
        """
        largest = max(self.sizes or (self.config.documents_per_round,))
        return read_labels(self.corpus, self.labels, largest, self.config.seed)


def validate(
    what: Validation, output: str | Path, session: Session, second: Session | None = None
) -> ValidationResult:
    """Measures a judge, and writes validation.json and report.html.

    Args:
        what: the documents, and the ways of asking.
        output: a directory.
        session: the judge.
        second: another judge, asked a share of the rounds, to measure agreement.

    Raises:
        UserError: the labels do not do, or the judge gave no usable reply.
        Paused: the session stopped; call again to go on.
    """
    from synthdiv import __version__

    directory = output_dir(output)
    labelled = what.labelled()
    trials = []
    steps = [steps_of(configs[0]) for configs in what.trials.values()]
    with in_steps(*steps), one_pause(session, second) as piece:
        for configs in what.trials.values():
            with piece():
                before = session.stats
                bases = _bases(what.corpus, configs[0], session)
                for config in configs:
                    asked = []
                    for mixture in _mixtures(what.corpus, labelled, config):
                        inquiry = Inquiry(mixture.sample, config, session, second, bases)
                        with piece():
                            inquiry.ask()
                            if inquiry.pause is not None:
                                raise inquiry.pause
                            asked.append(Asked(mixture, inquiry))
                    trials.append((config, asked, spent(before, session.stats)))
                    before = session.stats
    content = {
        "corpus": {
            "name": what.corpus.name,
            "documents": len(what.corpus),
            "sha256": what.corpus.sha256,
        },
        "judge": {"backend": session.backend, "model": session.model},
        "second_judge": second and {"backend": second.backend, "model": second.model},
        "labels": {
            one.column: {
                "classes": list(one.classes),
                "documents_per_class": len(one.documents[one.classes[0]]),
            }
            for one in labelled
        },
        "trials": [trial_json(config, asked, usage) for config, asked, usage in trials],
        "rounds": what.config.rounds,
        "config": dataclasses.asdict(what.config),
        "seed": what.config.seed,
        "synthdiv_version": __version__,
    }
    result = ValidationResult(content, tuple(asked for _, asked, _ in trials))
    result.write(directory)
    return result


def plan_validation(what: Validation, session: Session) -> Plan:
    """Estimates calls, tokens and cost of the judge without sending anything; see `plan_score`.

    Raises:
        UserError: as `Validation.labelled`.
    """
    mixtures = sum(len(one.sizes) for one in what.labelled())
    parts: dict[str, Plan] = {}
    for prompts, configs in what.trials.items():
        for number, config in enumerate(configs):
            asked = config.rounds * mixtures
            planned = dataclasses.replace(
                config,
                rounds=asked + round(asked * config.repeat_fraction),
                criteria_sets=config.sets,
            )
            name = f"{prompts}, {config.documents_per_round} documents a round"
            parts[name] = plan_score([what.corpus], planned, session, gathered=number > 0)
    return Plan(parts=parts)


def _bases(corpus: Corpus, config: ScoreConfig, session: Session) -> list[Basis]:
    """The criteria sets or codebooks that all mixtures are judged by."""
    return given_basis(config) or gather_from_all([corpus], config, session)


def _mixtures(corpus: Corpus, labelled: Sequence[Labelled], config: ScoreConfig) -> list[Mixture]:
    """The mixtures of all columns, with the documents of their rounds, read in one pass."""
    drawn = [
        (
            one,
            size,
            Draws(
                len(corpus),
                config.sample,
                one.seed(size),
                config.documents_per_round,
                among=one.mixture(size),
            ),
        )
        for one in labelled
        for size in one.sizes
    ]
    wanted = np.concatenate([d.round(n) for _, _, d in drawn for n in range(config.rounds)])
    documents: Mapping[int, Shown] = read_documents(corpus, wanted, config.document_words)
    return [Mixture(one, size, Sample(corpus, (draws,), documents)) for one, size, draws in drawn]
