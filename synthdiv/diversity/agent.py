"""Steps 4 and 5 of the cluster agent: a few documents sorted into clusters, which are then checked.

A reply that is no partition of the round's documents is asked for once more with the fault named
(the session does that) and then repaired by the rule of `repair_partition`; repairs are counted.
Clusters of one document need no verdict, so a round of singletons is not sent to step 5, unless it
looks both ways and may find that two of them are one.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from synthdiv.diversity.arithmetic import (
    counted_sizes,
    fault_of_partition,
    fault_of_repair,
    renumbered,
    repair_partition,
    round_score,
)
from synthdiv.diversity.codebook import Codebook, Label
from synthdiv.diversity.coding import Codes, assign_request, codes_of
from synthdiv.diversity.config import CORRECTED, ScoreConfig
from synthdiv.diversity.criteria import CriteriaSet, sampling
from synthdiv.diversity.documents import Shown, fenced_documents
from synthdiv.diversity.prompts import Prompts
from synthdiv.diversity.ruling import (
    BriefReview,
    BriefSorting,
    Rule,
    corrected,
    merged,
    review_request,
    sorting_request,
)
from synthdiv.diversity.schemas import (
    BriefCluster,
    BriefClustering,
    BriefVerification,
    Cluster,
    Clustering,
    Verification,
)
from synthdiv.llm import Request, Session, fence

Sorted = Clustering | BriefClustering

_SINGLE = "a cluster of one document"
_NOT_PLACED = "the judge placed it nowhere"
_MOSTLY = 0.5  # share of a round's documents without a usable code from which the round failed


@dataclasses.dataclass(frozen=True)
class JudgedCluster:
    """Documents that the judge put together, and what it said of them.

    Attributes:
        places: positions of its documents in the round, from 0.
        name, reason: what they have in common, and why they stand apart.
        metadata, metrics: its values and its scores from 1 to 5, by criterion name.
        valid: what self-verification said; True where nothing was asked.
        verdict: why.
    """

    places: tuple[int, ...]
    name: str
    reason: str
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, int] = dataclasses.field(default_factory=dict)
    valid: bool = True
    verdict: str = ""


@dataclasses.dataclass(frozen=True)
class DrawnRound:
    """What a round asks about.

    Attributes:
        id: of the round; its documents follow from it and the seed.
        criteria: what heads its prompts.
        documents: indices in the corpus, in the order shown, `[K]`.
    """

    id: int
    criteria: CriteriaSet
    documents: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Round(DrawnRound):
    """A round that was judged.

    Attributes:
        clusters: a partition of its documents, whatever the judge replied; empty after a failure.
        repaired: whether the partition or the verdicts had to be repaired.
        unverified: whether a cluster of several documents has no verdict, and counts as valid.
        failure: why there is no usable clustering; the round is then in no figure. None where
            there is one.
        codes: where documents were described by a codebook: one code a facet for each document,
            `[K][facets]`; a cluster is then the documents of one value at the headline's level.
        corrected: the partition that a verification which looks both ways found right, as places
            of documents; None where there is none.
    """

    clusters: tuple[JudgedCluster, ...] = ()
    repaired: bool = False
    unverified: bool = False
    failure: str | None = None
    codes: tuple[tuple[str, ...], ...] = ()
    corrected: tuple[tuple[int, ...], ...] | None = None

    @property
    def failed(self) -> bool:
        return self.failure is not None

    def sizes(self, policy: str) -> list[int]:
        """Sizes of the clusters that count under `policy`."""
        if policy == CORRECTED:
            return list(map(len, self.partition(policy)))
        sizes = [len(cluster.places) for cluster in self.clusters]
        return counted_sizes(sizes, [cluster.valid for cluster in self.clusters], policy)

    def score(self, policy: str) -> float:
        """The paper's C / S; NaN for a failed round or one without a cluster that counts."""
        return float("nan") if self.failed else round_score(self.sizes(policy))

    def partition(self, policy: str = "keep") -> Sequence[Sequence[int]]:
        """Places of the documents of each cluster: as sorted, or under "corrected" as mended."""
        if policy == CORRECTED and self.corrected is not None:
            return self.corrected
        return [cluster.places for cluster in self.clusters]

    def memberships(self, policy: str = "keep") -> list[int]:
        """The number of its cluster for each document, `[K]`; `policy` as in `partition`."""
        number = {p: n for n, places in enumerate(self.partition(policy)) for p in places}
        return [number[place] for place in range(len(self.documents))]


@dataclasses.dataclass(frozen=True)
class Agent:
    """Judges rounds.

    Attributes:
        session: who answers.
        documents: those of all rounds, by index.
        prompts: the templates.
        config: how replies are drawn, whether step 5 is asked.
        stage: what batch files and plans call step 4.
    """

    session: Session
    documents: Mapping[int, Shown]
    prompts: Prompts
    config: ScoreConfig
    stage: str = "clustering"

    async def judge(self, drawn: DrawnRound) -> Round:
        """Runs steps 4 and 5 of one round, or describes its documents by the codebook."""
        codebook = drawn.criteria.codebook
        if codebook is not None and self.prompts.way == "rule":
            return await self._ruled(drawn, Rule(codebook, self.config.level))
        if codebook is not None:
            return await self._described(drawn, codebook)
        reply = await self.session.ask(self.clustering_request(drawn))
        if reply.value is None or not reply.value.clusters:
            failure = reply.failure or "the judge named no cluster"
            return Round(drawn.id, drawn.criteria, drawn.documents, failure=failure)
        size, given = len(drawn.documents), reply.value.clusters
        numbers = [cluster.documents for cluster in given]
        told = renumbered(numbers, size)
        if fault := fault_of_repair(told, size):
            return Round(drawn.id, drawn.criteria, drawn.documents, failure=fault)
        clusters = partition_of(given, told, size)
        repaired, unverified = reply.failure is not None or told != numbers, False
        if self.config.verify and any(len(cluster.places) > 1 for cluster in clusters):
            verdicts = await self.session.ask(self.verification_request(drawn, clusters))
            clusters = judged(clusters, verdicts.value)
            repaired = repaired or verdicts.failure is not None
            unverified = bool(_unspoken(clusters, verdicts.value))
        return Round(drawn.id, drawn.criteria, drawn.documents, clusters, repaired, unverified)

    async def _ruled(self, drawn: DrawnRound, rule: Rule) -> Round:
        """Steps 4 and 5 by one rule, the second of them looking both ways."""
        reply = await self.session.ask(self.sorting_request(drawn, rule))
        if reply.value is None or not reply.value.clusters:
            failure = reply.failure or "the judge named no cluster"
            return Round(drawn.id, drawn.criteria, drawn.documents, failure=failure)
        size, given = len(drawn.documents), reply.value.clusters
        numbers = renumbered([cluster.documents for cluster in given], size)
        if fault := fault_of_repair(numbers, size):
            return Round(drawn.id, drawn.criteria, drawn.documents, failure=fault)
        partition, origin = repair_partition(numbers, size)
        values = [given[place].value if place >= 0 else "" for place in origin]
        groups = merged(partition, values, rule)
        reasons = [getattr(given[origin[n]], "reason", "") for _, n in groups]
        values = [values[n] for _, n in groups]
        clusters = tuple(
            JudgedCluster(
                places=tuple(places),
                name=rule.called(value) if value else "not placed",
                reason=reason if value else _NOT_PLACED,
                metadata=rule.described(value) if value else {},
                verdict=_SINGLE if len(places) == 1 else "",
            )
            for (places, _), value, reason in zip(groups, values, reasons, strict=True)
        )
        judged_round = Round(
            drawn.id, drawn.criteria, drawn.documents, clusters, reply.failure is not None
        )
        if not self.config.verify:
            return judged_round
        review = await self.session.ask(self.review_request(drawn, clusters, values, rule))
        if review.value is None:
            return dataclasses.replace(judged_round, unverified=True)
        found = corrected([c.places for c in clusters], values, review.value, rule)
        return dataclasses.replace(
            judged_round,
            clusters=judged(clusters, review.value),
            repaired=judged_round.repaired or review.failure is not None,
            unverified=bool(_unspoken(clusters, review.value)),
            corrected=tuple(map(tuple, found)),
        )

    async def _described(self, drawn: DrawnRound, codebook: Codebook) -> Round:
        """One round of values: its documents get codes, which make clusters at every level."""
        reply = await self.session.ask(self.codes_request(drawn, codebook))
        count = len(drawn.documents)
        codes, mended = codes_of(reply.value, count, codebook)
        if reply.value is None or mended > count * _MOSTLY:
            failure = reply.failure or "most documents got no code of the codebook"
            return Round(drawn.id, drawn.criteria, drawn.documents, failure=failure)
        facet, depth = codebook.find(self.config.level)
        described = codebook.facets[facet]
        places: dict[Label, list[int]] = {}
        for place, given in enumerate(codes):
            places.setdefault(codebook.label(facet, given[facet], depth), []).append(place)
        clusters = tuple(
            JudgedCluster(
                tuple(members),
                codebook.called(facet, label),
                codebook.meaning(facet, label),
                {
                    f"{described.name}: {level.name}": codebook.called(facet, label[:n])
                    for n, level in enumerate(described.levels[: depth + 1], 1)
                },
            )
            for label, members in places.items()
        )
        return Round(
            drawn.id, drawn.criteria, drawn.documents, clusters, mended > 0, codes=tuple(codes)
        )

    def codes_request(self, drawn: DrawnRound, codebook: Codebook) -> Request[Codes]:
        """The codes of one round's documents."""
        documents = [self.documents[i] for i in drawn.documents]
        return assign_request(documents, codebook, self.prompts, self.config, self.stage)

    def sorting_request(self, drawn: DrawnRound, rule: Rule) -> Request[BriefSorting]:
        """Step 4 of one round by the rule."""
        documents = [self.documents[i] for i in drawn.documents]
        return sorting_request(documents, rule, self.prompts, self.config, self.stage)

    def review_request(
        self,
        drawn: DrawnRound,
        clusters: Sequence[JudgedCluster],
        values: Sequence[str],
        rule: Rule,
    ) -> Request[BriefReview]:
        """Step 5 of one round by the rule."""
        told = [(c.places, value, c.reason) for c, value in zip(clusters, values, strict=True)]
        documents = [self.documents[i] for i in drawn.documents]
        return review_request(documents, told, rule, self.prompts, self.config)

    def clustering_request(self, drawn: DrawnRound) -> Request[Sorted]:
        """Step 4 of one round."""
        size = len(drawn.documents)

        def check(clustering: Sorted) -> str | None:
            return fault_of_partition(
                renumbered([c.documents for c in clustering.clusters], size), size
            )

        messages = self.prompts.messages(
            "cluster",
            criteria=drawn.criteria.text,
            documents=self._fenced(drawn),
            count=size,
            explain=self.config.explain,
        )
        schema: type[Sorted] = Clustering if self.config.explain else BriefClustering
        return Request(messages, schema, sampling(self.config), self.stage, check=check)

    def verification_request(
        self, drawn: DrawnRound, clusters: Sequence[JudgedCluster]
    ) -> Request[BriefVerification]:
        """Step 5 of one round."""

        def check(verification: BriefVerification) -> str | None:
            return fault_of_verdicts(verification, len(clusters))

        explain = self.config.explain
        described = [
            f"{_line(cluster.name)}\n"
            f"Documents: {', '.join(str(place + 1) for place in cluster.places)}"
            + (f"\nReason: {_line(cluster.reason)}" if explain else "")
            for cluster in clusters
        ]
        messages = self.prompts.messages(
            "verify",
            criteria=drawn.criteria.text,
            documents=self._fenced(drawn),
            clusters=fence("cluster", described),
            clusters_count=len(clusters),
            explain=explain,
        )
        schema = Verification if explain else BriefVerification
        return Request(messages, schema, sampling(self.config), "verification", check=check)

    def _fenced(self, drawn: DrawnRound) -> str:
        return fenced_documents([self.documents[i] for i in drawn.documents])


def _line(text: str) -> str:
    return " ".join(text.split())


def _unspoken(
    clusters: Sequence[JudgedCluster], verification: BriefVerification | None
) -> list[int]:
    """Numbers of the clusters of several documents that have no verdict."""
    spoken = {v.cluster for v in verification.verdicts} if verification else set()
    return [
        number
        for number, cluster in enumerate(clusters, 1)
        if len(cluster.places) > 1 and number not in spoken
    ]


def fault_of_verdicts(verification: BriefVerification, clusters: int) -> str | None:
    """Says in words which of the clusters 1..`clusters` have no verdict; None if all have one."""
    missing = sorted(set(range(1, clusters + 1)) - {v.cluster for v in verification.verdicts})
    if not missing:
        return None
    return f"there is no verdict on cluster {', '.join(map(str, missing))} (of 1 to {clusters})"


def partition_of(
    given: Sequence[Cluster | BriefCluster], numbers: Sequence[Sequence[int]], size: int
) -> tuple[JudgedCluster, ...]:
    """The clusters of a reply, repaired to a partition of `size` documents if they are none.

    Args:
        given: as the judge gave them.
        numbers: the documents of each, from 1.
        size: documents of the round.
    """
    partition, origin = repair_partition(numbers, size)
    clusters = []
    for places, place in zip(partition, origin, strict=True):
        verdict = _SINGLE if len(places) == 1 else ""
        if place < 0:
            clusters.append(
                JudgedCluster(tuple(places), "not placed", _NOT_PLACED, verdict=verdict)
            )
            continue
        cluster = given[place]
        clusters.append(
            JudgedCluster(
                places=tuple(places),
                name=cluster.name,
                reason=getattr(cluster, "reason", ""),
                metadata={m.name: m.value for m in cluster.metadata},
                metrics={m.name: m.score for m in cluster.metrics if 1 <= m.score <= 5},
                verdict=verdict,
            )
        )
    return tuple(clusters)


def judged(
    clusters: Sequence[JudgedCluster], verification: BriefVerification | None
) -> tuple[JudgedCluster, ...]:
    """The clusters with the first verdict on each; valid where there is none.

    A cluster of one document is valid by definition, whatever is said of it.
    """
    verdicts = {v.cluster: v for v in reversed(verification.verdicts)} if verification else {}
    return tuple(
        dataclasses.replace(
            cluster, valid=verdicts[n].valid, verdict=getattr(verdicts[n], "reason", "")
        )
        if n in verdicts and len(cluster.places) > 1
        else cluster
        for n, cluster in enumerate(clusters, 1)
    )
