"""A score directory: what score.json says of the rounds, and the rounds themselves.

`score.json` (docs/formats.md lists its keys) is written last and makes the directory complete;
`rounds.parquet` has one row a round and `documents.parquet` the documents that rounds showed.
"""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.arithmetic import shared_pairs
from synthdiv.diversity.config import POLICIES, ScoreConfig
from synthdiv.diversity.control import Control
from synthdiv.diversity.documents import Shown
from synthdiv.diversity.estimate import (
    Estimate,
    confidence_sequence,
    effective_clusters,
    estimate,
    pair_probability,
)
from synthdiv.errors import UserError
from synthdiv.files import atomic_path

_POLICY_WORDS = {
    "drop": "rejected clusters and their documents are left out",
    "split": "each document of a rejected cluster counts as a cluster of its own",
    "keep": "rejected clusters count like the others",
}


def definition(config: ScoreConfig) -> str:
    """`score.definition`: the score in words."""
    size = config.documents_per_round
    return (
        f"Mean over rounds of C / S, where a round is {size} documents drawn at random, C the "
        f"number of clusters that the judge sorts them into and S the mean number of documents in "
        f"a cluster; {_POLICY_WORDS[config.policy]}. Between {1 / size:g} (all alike) and {size} "
        "(all different)."
    )


@dataclasses.dataclass(frozen=True)
class Figures:
    """Per-round figures as arrays.

    Attributes:
        scores: C / S under the configured policy, `[N]`; NaN for a round without one.
        sets: criteria set of each round, `[N]`.
        plain: the scores before the control variate, `[N]`.
        control: what the control variate did; None without one.
    """

    scores: np.ndarray
    sets: np.ndarray
    plain: np.ndarray
    control: Control | None = None


def interval(figures: Figures, config: ScoreConfig, sequential: bool) -> Estimate:
    """The score with its interval.

    Args:
        figures: of the rounds so far.
        config: bootstrap and seed.
        sequential: whether the interval has to hold at every time of looking.

    Raises:
        UserError: the judge gave no usable clustering at all.
    """
    if not np.isfinite(figures.scores).any():
        raise UserError("no round came to a score: the judge gave no usable clustering")
    found = estimate(figures.scores, figures.sets, config.bootstrap, config.seed)
    low, high, method = found.low, found.high, found.method
    if sequential:
        means = [
            float(np.nanmean(figures.scores[figures.sets == s]))
            for s in dict.fromkeys(figures.sets.tolist())
            if np.isfinite(figures.scores[figures.sets == s]).any()
        ]
        low, high = confidence_sequence(means)
        method = "confidence sequence over criteria sets, valid at every time of looking"
    error = found.standard_error
    if figures.control is not None and figures.control.used and error > 0:
        widened = math.hypot(error, figures.control.error)
        low = found.mean - (found.mean - low) * widened / error
        high = found.mean + (high - found.mean) * widened / error
        error = widened
    return dataclasses.replace(found, low=low, high=high, standard_error=error, method=method)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _score_of(found: Estimate) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "ci95": [_finite(found.low), _finite(found.high)],
        "standard_error": _finite(found.standard_error),
    }


def policies(rounds: Sequence[Round], config: ScoreConfig) -> dict[str, Any]:
    """The score under every policy for rejected clusters."""
    sets = np.array([r.criteria_set for r in rounds])
    found: dict[str, Any] = {}
    for policy in POLICIES:
        scores = np.array([r.score(policy) for r in rounds])
        if np.isfinite(scores).any():
            found[policy] = _score_of(estimate(scores, sets, 500, config.seed))
    return found


def pairs(rounds: Sequence[Round], config: ScoreConfig) -> dict[str, Any]:
    """Figures beyond K: the pair probability and the effective number of clusters."""
    counts = np.array([shared_pairs(r.sizes(config.policy)) for r in rounds if not r.failed])
    sets = np.array([r.criteria_set for r in rounds if not r.failed])
    probabilities = pair_probability(counts[:, 0], counts[:, 1])
    if not np.isfinite(probabilities).any():
        return {"probability": None, "effective_clusters": None}
    found = estimate(probabilities, sets, config.bootstrap, config.seed)
    bounded = dataclasses.replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    if found.mean == 0:
        bounded = dataclasses.replace(bounded, high=min(1.0, 3.0 / found.values))
    return {
        "probability": _score_of(bounded),
        "effective_clusters": effective_clusters(bounded),
        "definition": "probability: that two documents drawn at random share a cluster. "
        "effective_clusters: its inverse, the number of equally large clusters that would give it; "
        "unlike the score it is not bounded by the size of a round.",
    }


def summarise(
    rounds: Sequence[Round], figures: Figures, config: ScoreConfig, requested: int
) -> dict[str, Any]:
    """The part of score.json that follows from the rounds."""
    sequential = config.target_ci is not None
    found = interval(figures, config, sequential)
    done = [r for r in rounds if not r.failed]
    sizes = [r.sizes(config.policy) for r in done]
    invalid = int((~np.isfinite(figures.plain)).sum())
    return {
        "score": _score_of(found)
        | {
            "definition": definition(config),
            "interval": found.method,
            "plain_mean": float(np.nanmean(figures.plain)),
            "variance_within_sets": found.within,
            "variance_between_sets": found.between,
            "policy": config.policy,
            "policies": policies(rounds, config),
        },
        "pairs": pairs(rounds, config),
        "rounds": {
            "requested": requested,
            "completed": len(rounds) - invalid,
            "invalid": invalid,
            "failures": dict(Counter(r.failure[:200] for r in rounds if r.failed).most_common(5)),
            "documents_per_round": config.documents_per_round,
        },
        "clusters": {
            "mean": float(np.mean([len(s) for s in sizes])),
            "size_mean": _mean([n for s in sizes for n in s]),
            "total": sum(len(r.clusters) for r in done),
            "dropped": sum(not ok for r in done for ok in r.verdicts),
        },
        "repairs": {"rounds": sum(r.repaired for r in rounds)},
        "control_variate": figures.control.as_dict() if figures.control else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def write_rounds(path: Path, rounds: Sequence[Round], policy: str) -> None:
    """Writes rounds.parquet; docs/formats.md lists its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for round_ in rounds:
        sizes = round_.sizes(policy)
        count, documents = len(sizes), sum(sizes)
        rows.append(
            {
                "round": round_.number,
                "criteria_set": round_.criteria_set,
                "indices": list(round_.indices),
                "clusters": round_.clusters,
                "verdicts": round_.verdicts,
                "names": round_.names,
                "reasons": round_.reasons,
                "C": count,
                "S": documents / count if count else None,
                "score": _finite(round_.score(policy)),
                "repaired": round_.repaired,
                "failed": round_.failed,
                "verdict_reasons": round_.verdict_reasons,
                "metadata": [json.dumps(m, ensure_ascii=False) for m in round_.metadata],
                "metrics": [json.dumps(m, ensure_ascii=False) for m in round_.metrics],
            }
        )
    text, numbers = pa.list_(pa.string()), pa.list_(pa.int64())
    schema = pa.schema(
        [
            ("round", pa.int64()),
            ("criteria_set", pa.int64()),
            ("indices", numbers),
            ("clusters", pa.list_(numbers)),
            ("verdicts", pa.list_(pa.bool_())),
            ("names", text),
            ("reasons", text),
            ("C", pa.int64()),
            ("S", pa.float64()),
            ("score", pa.float64()),
            ("repaired", pa.int64()),
            ("failed", pa.bool_()),
            ("verdict_reasons", text),
            ("metadata", text),
            ("metrics", text),
        ]
    )
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd")


def write_documents(path: Path, documents: Mapping[int, Shown]) -> None:
    """Writes documents.parquet: the documents as the judge saw them, with their provenance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "index": index,
            "id": shown.id,
            "text": shown.text,
            "provenance": json.dumps(dict(shown.provenance), ensure_ascii=False, default=str),
        }
        for index, shown in sorted(documents.items())
    ]
    schema = pa.schema(
        [
            ("index", pa.int64()),
            ("id", pa.string()),
            ("text", pa.string()),
            ("provenance", pa.string()),
        ]
    )
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd")
