"""Replies of the length that judges give them, for a plan: nobody has been asked yet."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel

from synthdiv.diversity.agent import JudgedCluster
from synthdiv.diversity.codebook import Codebook
from synthdiv.diversity.coding import Codes, DocumentCodes, DocumentNotes, Notes
from synthdiv.diversity.criteria import Criteria
from synthdiv.diversity.ruling import (
    BriefReview,
    BriefSortedCluster,
    BriefSorting,
    Review,
    SortedCluster,
    Sorting,
)
from synthdiv.diversity.schemas import (
    AttributeValue,
    BriefCluster,
    BriefClustering,
    BriefMetricScore,
    BriefVerdict,
    BriefVerification,
    Cluster,
    Clustering,
    MetricScore,
    Verdict,
    Verification,
)
from synthdiv.llm import Request
from synthdiv.llm.money import likely_tokens

T = TypeVar("T", bound=BaseModel)

_NAME, _REASON = "a name of four words", "its documents treat one subject for one kind of reader"
_VALUE = "one value in some words"


def expecting(request: Request[T], reply: BaseModel) -> Request[T]:
    """The request with the tokens that a reply like `reply` has."""
    return dataclasses.replace(request, expected=likely_tokens(len(reply.model_dump_json())))


def notes(handfuls: int, documents: int, codebook: Codebook) -> list[Notes]:
    """Notes of different documents."""
    levels = sum(len(facet.levels) for facet in codebook.facets)
    return [
        Notes(
            documents=[
                DocumentNotes(document=n, values=[f"value {handful} {n}"] * levels)
                for n in range(1, documents + 1)
            ]
        )
        for handful in range(handfuls)
    ]


def clusters(size: int) -> list[JudgedCluster]:
    """Two documents a cluster."""
    return [
        JudgedCluster(tuple(range(place, min(place + 2, size))), _NAME, _REASON)
        for place in range(0, size, 2)
    ]


def clustering(
    given: Sequence[JudgedCluster], criteria: Criteria, explain: bool
) -> Clustering | BriefClustering:
    """Clusters with their values and scores by some criteria."""
    values = [AttributeValue(name=c.name, value=_VALUE) for c in criteria if c.kind == "metadata"]
    metrics = [c.name for c in criteria if c.kind == "metric"]
    numbers = [[place + 1 for place in cluster.places] for cluster in given]
    if not explain:
        scores = [BriefMetricScore(name=name, score=3) for name in metrics]
        return BriefClustering(
            clusters=[
                BriefCluster(name=_NAME, documents=n, metadata=values, metrics=scores)
                for n in numbers
            ]
        )
    scored = [MetricScore(name=name, score=3, reason=_REASON) for name in metrics]
    return Clustering(
        clusters=[
            Cluster(name=_NAME, documents=n, reason=_REASON, metadata=values, metrics=scored)
            for n in numbers
        ]
    )


def verification(count: int, explain: bool) -> BriefVerification:
    """A verdict on each cluster."""
    if explain:
        return Verification(verdicts=_verdicts(count))
    return BriefVerification(verdicts=[BriefVerdict(cluster=n, valid=True) for n in range(count)])


def codes(size: int, codebook: Codebook) -> Codes:
    """The codes of a round's documents."""
    code = [f"{codebook.letter(n)}{'.1' * len(f.levels)}" for n, f in enumerate(codebook.facets)]
    return Codes(documents=[DocumentCodes(document=n, codes=code) for n in range(size)])


def sorting(given: Sequence[JudgedCluster], explain: bool) -> BriefSorting:
    """Clusters by one rule."""
    numbers = [[place + 1 for place in cluster.places] for cluster in given]
    if explain:
        return Sorting(
            clusters=[SortedCluster(value="A1.1", documents=n, reason=_REASON) for n in numbers]
        )
    return BriefSorting(clusters=[BriefSortedCluster(value="A1.1", documents=n) for n in numbers])


def review(count: int, explain: bool) -> BriefReview:
    """A review that finds nothing."""
    if explain:
        return Review(verdicts=_verdicts(count), misplaced=[], united=[])
    verdicts = [BriefVerdict(cluster=n, valid=True) for n in range(count)]
    return BriefReview(verdicts=verdicts, misplaced=[], united=[])


def _verdicts(count: int) -> list[Verdict]:
    return [Verdict(cluster=n, valid=True, reason=_REASON) for n in range(count)]
