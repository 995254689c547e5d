"""What scoring came to: score.json as a typed value, and the files of a score directory.

`score.json` (docs/formats.md lists its keys) is written last and makes the directory complete;
`rounds.parquet` has one row a round and `documents.parquet` the documents that rounds showed.
"""

import dataclasses
import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.arithmetic import shared_pairs
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.content import Content
from synthdiv.diversity.criteria import Basis, Criteria, criteria_of
from synthdiv.diversity.documents import Shown
from synthdiv.diversity.doubts import warnings
from synthdiv.diversity.estimate import Estimate, effective_clusters, pairs_estimate
from synthdiv.diversity.figures import Figures, interval
from synthdiv.diversity.levels import LevelScore
from synthdiv.diversity.prompts import load_prompts
from synthdiv.diversity.tables import write_documents, write_rounds, write_values
from synthdiv.errors import UserError
from synthdiv.files import output_dir, write_json

_POLICY_WORDS = {
    "drop": "rejected clusters and their documents are left out",
    "split": "each document of a rejected cluster counts as a cluster of its own",
    "keep": "rejected clusters count like the others",
    "corrected": "documents that verification found misplaced are moved, and clusters that it found"
    " to be one are joined",
}


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ScoreResult(Content):
    """A corpus's score with everything that belongs to it.

    Attributes:
        content: what score.json holds; `result["facets"]` is `result.content["facets"]`.
        rounds: what the judge made of each round.
        sets: the criteria of each set, or its codebook.
        documents: those that rounds showed, by index.
        level_scores: the score at each level; none where the judge sorted documents into clusters.
    """

    content: Mapping[str, Any]
    rounds: tuple[Round, ...]
    sets: tuple[Basis, ...]
    documents: Mapping[int, Shown]
    level_scores: tuple[LevelScore, ...] = ()

    @property
    def name(self) -> str:
        """Of the corpus."""
        return str(self.content["corpus"]["name"])

    @property
    def mean(self) -> float:
        """The score."""
        return float(self.content["score"]["mean"])

    @property
    def ci95(self) -> tuple[float, float]:
        """Its 95% interval; NaN for an end that is not known."""
        low, high = self.content["score"]["ci95"]
        return _number(low), _number(high)

    @property
    def figure(self) -> str:
        """Score and interval in a few words."""
        marked = " (partial)" if self.partial is not None else ""
        return f"{self.mean:.3f} [{', '.join(_ends(self))}]{marked}"

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN where it is not known."""
        return _number(self.content["score"]["standard_error"])

    @property
    def criteria(self) -> Criteria:
        """The criteria of the first set."""
        return criteria_of(self.sets[0])

    @property
    def levels(self) -> Mapping[str, tuple[float, float, float]]:
        """Score and 95% interval at each level, "subject.field": (mean, low, high).

        Empty where the judge sorted documents into clusters.
        """
        return {
            f"{one['facet']}.{one['level']}": (one["mean"], *one["ci95"])
            for one in self.content.get("levels", ())
        }

    @property
    def judge(self) -> str:
        """The name of the model that judged."""
        return str(self.content["judge"]["model"])

    @property
    def partial(self) -> Mapping[str, Any] | None:
        """How far a cap let the run get; None for a whole score."""
        return self.content.get("partial")

    @property
    def go_on_with(self) -> dict[str, float]:
        """Caps under which a partial result would get further."""
        return dict((self.partial or {}).get("go_on_with", {}))

    def write(self, directory: Path | str, back: str | None = None) -> None:
        """Writes a score directory: score.json, rounds.parquet, documents.parquet, report.html.

        Args:
            directory: where to.
            back: address of the page of the comparison that the score is part of.
        """
        from synthdiv.diversity.report import write_report

        directory = output_dir(directory)
        write_rounds(directory / "rounds.parquet", self.rounds, self.content["score"]["policy"])
        if any(round_.codes for round_ in self.rounds):
            write_values(directory / "values.parquet", self.rounds)
        write_documents(directory / "documents.parquet", self.documents)
        write_json(
            directory / "score.json", self.content
        )  # last but for the report, which reads it
        write_report(directory, back=back)

    def __str__(self) -> str:
        return f"{self.name}: {self.figure}"

    def __repr__(self) -> str:
        return f"ScoreResult({self}, {len(self.rounds)} rounds judged by {self.judge})"

    def _repr_html_(self) -> str:
        return _table({self.name: self}, f"judged by {self.judge}")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Score of the first corpus less the second's.

    Attributes:
        corpora: their names.
        difference, ci95, p_value: of the scores; NaN where too few rounds tell.
        method: how interval and p-value were made, in words.
    """

    corpora: tuple[str, str]
    difference: float
    ci95: tuple[float, float]
    p_value: float
    method: str

    def __str__(self) -> str:
        low, high = self.ci95
        p = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        return f"{' - '.join(self.corpora)}: {self.difference:+.3f} [{low:+.3f}, {high:+.3f}], {p}"

    def to_json(self) -> dict[str, Any]:
        """Returns the difference as comparison.json has it."""
        return dataclasses.asdict(self) | {
            "corpora": list(self.corpora),
            "ci95": [_finite(end) for end in self.ci95],
            "p_value": _finite(self.p_value),
        }


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ComparisonResult(Content):
    """Several corpora's scores, and how they differ.

    Attributes:
        content: what comparison.json holds; `result["corpora"]` is `result.content["corpora"]`.
        scores: of each corpus, by name.
        differences: of each two corpora that were judged by the same criteria.
    """

    content: Mapping[str, Any]
    scores: Mapping[str, ScoreResult]
    differences: tuple[Difference, ...]

    @property
    def partial(self) -> Mapping[str, Any] | None:
        """How far a cap let the run get; None for a whole comparison."""
        return self.content.get("partial")

    @property
    def go_on_with(self) -> dict[str, float]:
        """Caps under which a partial result would get further."""
        return dict((self.partial or {}).get("go_on_with", {}))

    def __str__(self) -> str:
        scores = [f"{name}: {score.figure}" for name, score in self.scores.items()]
        return "\n".join([*scores, *map(str, self.differences)])

    def __repr__(self) -> str:
        return f"ComparisonResult({'; '.join(str(self).splitlines())})"

    def _repr_html_(self) -> str:
        return _table(self.scores, f"judged by {self.content['judge']['model']}")


def _table(scores: Mapping[str, ScoreResult], caption: str) -> str:
    """Scores as a notebook shows them."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{one.mean:.3f}</td>"
        f"<td>{' to '.join(_ends(one))}</td><td>{len(one.rounds):,}</td></tr>"
        for name, one in scores.items()
    )
    head = "<tr><th>corpus</th><th>score</th><th>95% interval</th><th>rounds</th></tr>"
    return f"<table><caption>{html.escape(caption)}</caption>{head}{rows}</table>"


def _ends(score: ScoreResult) -> list[str]:
    """The ends of a score's interval in words."""
    return [f"{end:.3f}" if math.isfinite(end) else "?" for end in score.ci95]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def definition(config: ScoreConfig) -> str:
    """`score.definition`: the score in words."""
    size = config.documents_per_round
    way = load_prompts(config.prompts).way
    if way == "values":
        return (
            f"Mean over rounds of C / S, where a round is {size} documents drawn at random, C the "
            f"number of different values that they have at the level {config.level} and S the mean "
            f"number of documents of a value. Between {1 / size:g} (all alike) and {size} (all "
            "different)."
        )
    by = f" by their values at the level {config.level}" if way == "rule" else ""
    policy = _POLICY_WORDS[config.policy_in_force] if config.verify else "nothing is verified"
    return (
        f"Mean over rounds of C / S, where a round is {size} documents drawn at random, C the "
        f"number of clusters that the judge sorts them into{by} and S the mean number of documents "
        f"in a cluster; {policy}. Between {1 / size:g} (all alike) and {size} (all different)."
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def score_of(found: Estimate) -> dict[str, Any]:
    """A figure with its interval as JSON holds it; an end that is not known is None."""
    return {
        "mean": found.mean,
        "ci95": found.ci95,
        "standard_error": _finite(found.standard_error),
    }


def policies(figures: Mapping[str, Figures], config: ScoreConfig) -> dict[str, Estimate]:
    """The score under every policy for rejected clusters that leaves a round with a score."""
    size, sequential = config.documents_per_round, config.target_ci is not None
    return {
        policy: interval(one, config, sequential).within_bounds(1 / size, size)
        for policy, one in figures.items()
        if policy == config.policy_in_force or np.isfinite(one.scores).any()
    }


def pairs(rounds: Sequence[Round], config: ScoreConfig) -> dict[str, Any]:
    """Figures beyond K: the pair probability and the effective number of clusters."""
    counts = np.array(
        [shared_pairs(r.sizes(config.policy_in_force)) for r in rounds if not r.failed]
    )
    sets = np.array([r.criteria.number for r in rounds if not r.failed])
    if not counts[:, 1].any():
        return {"probability": None, "effective_clusters": None}
    found = pairs_estimate(counts, sets, config.bootstrap, config.seed)
    return {
        "probability": score_of(found),
        "effective_clusters": effective_clusters(found),
        "definition": "probability: that two documents drawn at random share a cluster. "
        "effective_clusters: its inverse (corrected for bias), the "
        "number of equally large clusters that would give it; "
        "unlike the score it is not bounded by the size of a round.",
    }


def summarise(
    rounds: Sequence[Round], by_policy: Mapping[str, Figures], config: ScoreConfig, requested: int
) -> dict[str, Any]:
    """The part of score.json that follows from the rounds, and from their figures by policy."""
    failures = Counter(r.failure[:200] for r in rounds if r.failure is not None)
    if failures.total() == len(rounds):
        words, count = failures.most_common(1)[0]
        raise UserError(
            "no round came to a score: the judge gave no usable clustering"
            f" ({count:,} of {len(rounds):,}: {words})"
        )
    figures, estimates = by_policy[config.policy_in_force], policies(by_policy, config)
    found = estimates[config.policy_in_force]
    done = [r for r in rounds if not r.failed]
    sizes = [r.sizes(config.policy_in_force) for r in done]
    invalid = int((~np.isfinite(figures.plain)).sum())
    return {
        "score": score_of(found)
        | {
            "definition": definition(config),
            "interval": found.method,
            "plain_mean": float(np.nanmean(figures.plain)),
            "variance_within_sets": found.within,
            "variance_between_sets": found.between,
            "policy": config.policy_in_force,
            "policies": {policy: score_of(one) for policy, one in estimates.items()},
        },
        "pairs": pairs(rounds, config),
        "rounds": {
            "requested": requested,
            "completed": len(rounds) - invalid,
            "invalid": invalid,
            "failures": dict(failures.most_common(5)),
            "documents_per_round": config.documents_per_round,
        },
        "clusters": {
            "mean": float(np.mean([len(s) for s in sizes])),
            "size_mean": _mean([n for s in sizes for n in s]),
            "total": sum(len(r.clusters) for r in done),
            "dropped": sum(not cluster.valid for r in done for cluster in r.clusters),
        },
        "repairs": {
            "rounds": sum(r.repaired for r in rounds),
            "unverified": sum(r.unverified for r in rounds),
        },
        "warnings": warnings(rounds, config, found),
        "control_variate": figures.control.as_dict() if figures.control else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
