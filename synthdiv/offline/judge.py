"""The offline judge: answers the prompts of the cluster agent without a language model.

It is told what a server is told and answers with the JSON that the schemas ask for. Documents are
clustered by `diversity.lexical`, in the facets that the criteria at the top of the prompt name. It
knows words and not their meaning: it is a stand-in that lets everything run, and no LLM.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from synthdiv.diversity.lexical import FACETS, PLACES, distances, facets_named, partition
from synthdiv.diversity.reading import MANNER_NAMES, Reading, read
from synthdiv.diversity.schemas import (
    BriefClustering,
    BriefVerification,
    Clustering,
    CriteriaProposal,
    CriteriaSummary,
    GatheredMetadata,
    GatheredMetrics,
    Verification,
)
from synthdiv.llm.fences import fenced
from synthdiv.offline.brief import brief

METADATA = ("Subject vocabulary", "Manner of address", "Arrangement on the page")
METRICS = ("Sentence length", "Word difficulty", "Vocabulary richness")
_DIFFERS = 0.05  # the least spread of a measurement that counts as a difference between documents
_DOUBTFUL = 0.995  # a cluster with a document farther than this from the others is rejected


def _texts(messages: Sequence[Mapping[str, str]], *kinds: str) -> list[list[str]]:
    """The fenced texts of all messages but the model's own, a list for each kind."""
    found = [block for m in messages if m["role"] != "assistant" for block in fenced(m["content"])]
    return [[block.text for block in found if block.kind == kind] for kind in kinds]


def _propose(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    (documents,) = _texts(messages, "document")
    readings = [read(text) for text in documents]
    spread = np.stack([r.manner for r in readings]).std(0) if readings else np.zeros(1)

    def variation(facet: str) -> float:
        places = PLACES[facet]
        return float(spread[places].mean()) if places else float("inf")

    # A facet in which the documents do not differ suggests no criterion.
    metadata = [f for f in METADATA if variation(f) > _DIFFERS]
    metrics = [f for f in METRICS if variation(f) > _DIFFERS] or [METRICS[0]]
    return json.dumps(
        {
            "metadata": [
                {
                    "name": facet,
                    "definition": _definition(facet),
                    "values": list(dict.fromkeys(_value(facet, r) for r in readings)),
                }
                for facet in metadata
            ],
            "metrics": [
                {
                    "name": facet,
                    "definition": _definition(facet),
                    "rubric": [f"{degree} than usual in prose" for degree in _DEGREES],
                }
                for facet in metrics
            ],
        }
    )


_DEGREES = ("much less", "less", "neither more nor less", "more", "much more")


def _definition(facet: str) -> str:
    return f"Measured by: {', '.join(FACETS[facet][1])}."


def _value(facet: str, reading: Reading) -> str:
    """The value that a document has in a facet, in words."""
    if facet == "Subject vocabulary":
        return ", ".join(reading.terms[:4]) or "no words"
    places = PLACES[facet]
    highest = max(places, key=lambda p: reading.manner[p])
    return MANNER_NAMES[highest] if reading.manner[highest] > 0.5 else "none stands out"


def _score(facet: str, manner: np.ndarray) -> int:
    """A score of 1 to 5: how high the first measurement of a facet is."""
    return int(np.clip(round(3 + float(manner[PLACES[facet][0]])), 1, 5))


def _gather(kind: str) -> Callable[..., str]:
    """Makes the handler that merges proposals of "metadata" or of "metrics"."""

    def answer(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
        (proposals,) = _texts(messages, "proposal")
        gathered = []
        for proposal in proposals[:5]:  # the most often proposed come first
            name, _, *definitions = proposal.split("\n")
            first = definitions[0] if definitions else ""
            values = [v for d in definitions for v in _listed_values(d)]
            entry: dict[str, Any] = {
                "name": name,
                "definition": first.split(" Values:")[0].split(" Scores:")[0],
            }
            if kind == "metadata":
                entry["values"] = list(dict.fromkeys(values))[:8]
            else:
                entry["rubric"] = [f"{degree} than usual in prose" for degree in _DEGREES]
            gathered.append(entry)
        return json.dumps({kind: gathered})

    return answer


def _listed_values(definition: str) -> list[str]:
    _, _, values = definition.partition(" Values: ")
    return [v.strip() for v in values.rstrip(".").split(";") if v.strip()]


def _summarise(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    attributes, metrics = _texts(messages, "attribute", "metric")
    criteria = []
    for kind, blocks in (("metadata", attributes), ("metric", metrics)):
        for block in blocks:
            name, _, definition = block.partition("\n")
            sentence = " ".join(definition.split())
            criteria.append({"name": name, "kind": kind, "sentence": sentence})
    return json.dumps({"criteria": criteria})


def _cluster(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    criteria, documents = _texts(messages, "criterion", "document")
    facets = facets_named(criteria)
    readings = [read(text) for text in documents]
    groups: dict[int, list[int]] = {}
    for position, label in enumerate(partition(documents, facets)):
        groups.setdefault(label, []).append(position)
    named = [c.split(" (")[0] for c in criteria]
    clusters = []
    for members in groups.values():
        inside = [readings[p] for p in members]
        typical = inside[0]
        manner = np.mean([r.manner for r in inside], axis=0)
        shared = _shared_terms(inside)
        metadata, metrics = [], []
        for name in named:
            for facet in facets_named([name])[:1]:
                if facet in METADATA:
                    metadata.append({"name": name, "value": _value(facet, typical)})
                else:
                    score = _score(facet, manner)
                    reason = f"{_DEGREES[score - 1]} than usual"
                    metrics.append({"name": name, "score": score, "reason": reason})
        clusters.append(
            {
                "name": ", ".join(shared) or "no words",
                "documents": [p + 1 for p in members],
                "reason": f"words that set it apart: {', '.join(shared) or 'none'}",
                "metadata": metadata,
                "metrics": metrics,
            }
        )
    return json.dumps({"clusters": clusters})


def _shared_terms(readings: Sequence[Reading]) -> list[str]:
    """The telling words that most documents of a cluster share, commonest first."""
    counts: dict[str, int] = {}
    for reading in readings:
        for term in reading.terms:
            counts[term] = counts.get(term, 0) + 1
    ranked = sorted(counts, key=lambda t: -counts[t])  # stable: the first document's order
    return ranked[:4]


def _verify(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    criteria, documents, clusters = _texts(messages, "criterion", "document", "cluster")
    apart = distances(documents, facets_named(criteria)) if documents else np.zeros((0, 0))
    verdicts = []
    for number, block in enumerate(clusters, 1):
        members = _members(block, len(documents))
        inside = apart[np.ix_(members, members)]
        count = len(members)
        worst = float(inside.sum(1).max()) / (count - 1) if count > 1 else 0.0
        valid = worst <= _DOUBTFUL
        verdicts.append(
            {
                "cluster": number,
                "valid": valid,
                "reason": f"the document least like the others is {worst:.2f} apart from them, "
                f"where {_DOUBTFUL} is the most",
            }
        )
    return json.dumps({"verdicts": verdicts})


def _members(block: str, documents: int) -> list[int]:
    """Positions of a cluster's documents: the line "Documents: 1, 4" of the prompt, from 0."""
    for line in block.split("\n"):
        if line.startswith("Documents: "):
            numbers = line.removeprefix("Documents: ").split(",")
            return [int(n) - 1 for n in numbers if 0 < int(n) <= documents]
    return []


HANDLERS: dict[type[BaseModel], Callable[..., str]] = {
    CriteriaProposal: _propose,
    GatheredMetadata: _gather("metadata"),
    GatheredMetrics: _gather("metrics"),
    CriteriaSummary: _summarise,
    Clustering: _cluster,
    BriefClustering: brief(_cluster),
    Verification: _verify,
    BriefVerification: brief(_verify),
}
