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

from synthdiv import __version__
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.corpora import gather_from_all
from synthdiv.diversity.criteria import Basis, given_basis
from synthdiv.diversity.documents import Draws, Shown, read_documents
from synthdiv.diversity.inquiry import Inquiry, Sample
from synthdiv.diversity.mixtures import Labelled, read_labels
from synthdiv.diversity.planning import plan_score
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.steps import steps_of
from synthdiv.diversity.trials import Asked, Mixture, Trial, taken, trial_json
from synthdiv.diversity.validation_result import PartialValidation, ValidationResult, trials_of
from synthdiv.diversity.work import score_work
from synthdiv.errors import Paused
from synthdiv.files import Corpus, output_dir
from synthdiv.llm import Awaiting, LLMConfig, Session, in_steps, one_pause
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
        verify: whether clusters are verified, to compare with and without; none for that of
            `config`.
        beside: validation.json files of other judges on the same mixtures, for the same table.
    """

    corpus: Corpus
    labels: tuple[str, ...]
    config: ScoreConfig
    prompts: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    verify: tuple[bool, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def trials(self) -> dict[str, list[ScoreConfig]]:
        """The parameters of each trial, by directory of prompts."""
        # What a score adds for its own sake is left out: a control variate, baselines, repeats.
        config = dataclasses.replace(
            self.config, control_rounds=0, repeats=1, target_ci=None, labels=None
        )
        found = {}
        for prompts in self.prompts or (config.prompts,):
            verified = self.verify or (config.verify,)
            if load_prompts(prompts).review is None:
                verified = verified[:1]  # there is nothing to verify
            found[str(prompts)] = [
                dataclasses.replace(
                    config, prompts=prompts, documents_per_round=size, verify=verify
                )
                for size in dict.fromkeys(self.sizes or (config.documents_per_round,))
                for verify in dict.fromkeys(verified)
            ]
        return found

    def work(self, judge: LLMConfig) -> dict[str, Any]:
        """What makes a validation what it is, for the claim on its directory.

        More labels, prompts or sizes, with or without verification, only add to it.
        """
        asked = score_work([self.corpus], self.config, judge)
        for name in ("prompts", "documents_per_round", "verify", "policy"):
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
        UserError: the labels do not do, the judge gave no usable reply, or what is to stand beside
            is of other mixtures.
        PartialValidation: a cap was reached and there are figures of some mixtures; call again to
            go on.
        Paused: the session stopped before that; call again to go on.
    """
    directory = output_dir(output)
    labelled = what.labelled()
    others = [trial for path in what.beside for trial in trials_of(path, _measured(what, labelled))]
    trials: list[Trial] = []
    pause: Paused | None = None
    try:
        _ask(what, labelled, session, second, trials)
    except Awaiting:
        raise
    except Paused as error:
        pause = error
        if not (session.capped and any(trial.asked for trial in trials)):
            raise
    answered = [trial for trial in trials if trial.asked]
    judge = {"backend": session.backend, "model": session.model}
    content = _measured(what, labelled) | {
        "judge": judge,
        "second_judge": second and {"backend": second.backend, "model": second.model},
        "trials": [{"judge": judge} | trial_json(trial) for trial in answered] + others,
        "config": dataclasses.asdict(what.config),
        "synthdiv_version": __version__,
    }
    ways = sum(map(len, what.trials.values()))
    planned = ways * sum(len(one.sizes) for one in labelled)
    if pause is not None:
        content["partial"] = {
            "reason": str(pause),
            "mixtures_answered": sum(len(trial.asked) for trial in trials),
            "mixtures_planned": planned,
            "go_on_with": dict(pause.flags),
        }
    result = ValidationResult(content, tuple(trial.asked for trial in answered))
    result.write(directory)
    if pause is not None:
        raise PartialValidation(pause, result, directory)
    return result


def _measured(what: Validation, labelled: Sequence[Labelled]) -> dict[str, Any]:
    """What the figures of a validation are about: those of others that are not cannot be beside."""
    return {
        "corpus": {
            "name": what.corpus.name,
            "documents": len(what.corpus),
            "sha256": what.corpus.sha256,
        },
        "labels": {
            one.column: {
                "classes": list(one.classes),
                "documents_per_class": len(one.documents[one.classes[0]]),
            }
            for one in labelled
        },
        "rounds": what.config.rounds,
        "seed": what.config.seed,
    }


def _ask(
    what: Validation,
    labelled: Sequence[Labelled],
    session: Session,
    second: Session | None,
    trials: list[Trial],
) -> None:
    """Asks everything, and puts down each mixture that is answered with its trial.

    Raises:
        Paused: with what was answered before in `trials`.
    """
    steps = [
        steps_of(max(configs, key=lambda config: config.verify)) for configs in what.trials.values()
    ]
    with in_steps(*steps), one_pause(session, second) as piece:
        for configs in what.trials.values():
            with piece():
                before = session.stats
                bases = _bases(what.corpus, configs[0], session)
                gathering = taken(before, session.stats)
                for config in configs:
                    trial = Trial(config, gathering=[gathering])
                    trials.append(trial)
                    gathering = taken(before, before)  # with the first trial of its prompts
                    for mixture in _mixtures(what.corpus, labelled, config):
                        inquiry = Inquiry(mixture.sample, config, session, second, bases)
                        with piece(), trial.counted(session, trial.rounds):
                            inquiry.ask_rounds()
                            trial.asked.append(Asked(mixture, inquiry))
                        with piece(), trial.counted(session, trial.again):
                            inquiry.ask_again()
                        if inquiry.pause is not None:
                            raise inquiry.pause


def plan_validation(what: Validation, session: Session) -> Plan:
    """Estimates calls, tokens and cost of the judge without sending anything; see `plan_score`.

    Raises:
        UserError: as `Validation.labelled`.
    """
    mixtures = sum(len(one.sizes) for one in what.labelled())
    parts: dict[str, Plan] = {}
    gathered: set[str] = set()
    for prompts, configs in what.trials.items():
        coding = load_prompts(prompts).coding.sha256
        for size in dict.fromkeys(config.documents_per_round for config in configs):
            same = [config for config in configs if config.documents_per_round == size]
            planned = dataclasses.replace(
                same[0],
                verify=any(config.verify for config in same),
                rounds=same[0].rounds * mixtures,
                criteria_sets=same[0].sets,
            )
            name = f"{prompts}, {size} documents a round"
            parts[name] = plan_score([what.corpus], planned, session, coding in gathered)
            gathered.add(coding)
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
