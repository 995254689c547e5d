"""Clusters by one rule: documents belong together that have the same value at one level.

The rule is a template of its own that the prompts of sorting and of its review include, so both ask
by the same words. A cluster is named by its value, which is a code of the codebook or, where the
list has none, a few words; two clusters of one value are one. The review looks both ways: at
clusters that do not hold, with the documents that are misplaced in them, and at clusters that
should have been one. What it says makes the corrected partition.
"""

import re
from collections.abc import Sequence

from pydantic import BaseModel, Field

from synthdiv.diversity.arithmetic import Partition, fault_of_partition, renumbered
from synthdiv.diversity.codebook import Codebook, Label, is_other, same_name
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import sampling
from synthdiv.diversity.documents import Shown, fenced_documents
from synthdiv.diversity.prompts import Prompts
from synthdiv.diversity.schemas import BriefVerification, Verdict
from synthdiv.llm import Request, fence

Key = Label | str  # what two spellings of one value have in common: its place, or its words

_CODE = re.compile(r"([A-Z]\d+(?:\.\d+)*)\b")


class BriefSortedCluster(BaseModel):
    """Documents of one value."""

    value: str = Field(description="The code; a few words for a value that the list lacks.")
    documents: list[int] = Field(description="Numbers of its documents.")


class SortedCluster(BriefSortedCluster):
    """The same with the reason."""

    reason: str


class BriefSorting(BaseModel):
    """A partition of a round's documents by their values."""

    clusters: Sequence[BriefSortedCluster]


class Sorting(BriefSorting):
    """The same with reasons."""

    clusters: Sequence[SortedCluster]


class Misplaced(BaseModel):
    """A document that has another value than the others of its cluster."""

    document: int
    value: str = Field(description="The code; a few words for a value that the list lacks.")


class United(BaseModel):
    """Clusters that should have been one."""

    clusters: list[int]


class BriefReview(BriefVerification):
    """A sorting checked both ways."""

    misplaced: list[Misplaced]
    united: list[United]


class Review(BriefReview):
    """The same with reasons."""

    verdicts: Sequence[Verdict]


class Rule:
    """The rule at one level of a codebook.

    Args:
        codebook: the values.
        level: as "subject.discipline".

    Attributes:
        codebook: the facet of the level, with its values down to it.
        others: names of the other facets, which do not count.

    Raises:
        UserError: as `Codebook.find`.
    """

    def __init__(self, codebook: Codebook, level: str) -> None:
        self.codebook = codebook.narrowed(level)
        (self._facet,) = self.codebook.facets
        self.others = [f.name for f in codebook.facets if f.name != self._facet.name]
        self._depth = len(self._facet.levels) - 1
        self._labels = {
            same_name(value.name): place
            for place, value in self._facet.walk()
            if len(place) > self._depth or not value.values
        }

    def words(self) -> dict[str, str]:
        """What the template of the rule is told."""
        *first, last = self.others or [""]
        return {
            "codebook": self.codebook.listed(0),
            "facet": self._facet.name,
            "level": self._facet.levels[-1].name,
            "others": f"{', '.join(first)} and {last}" if first else last,
        }

    def key(self, value: str) -> Key:
        """What a value is, however it is written; "" for none."""
        found = _CODE.match(value.strip())
        place = self.codebook.place(0, found[1]) if found else None
        if place is not None and self._labels_of(place):
            return place
        return self._labels.get(same_name(value), same_name(value))

    def _labels_of(self, place: Label) -> bool:
        """Whether a place is that of a value at the level."""
        return bool(place) and not is_other(self.codebook.labels(0, place)[-1])

    def called(self, value: str) -> str:
        """A value in words."""
        key = self.key(value)
        return " ".join(value.split()) if isinstance(key, str) else self.codebook.called(0, key)

    def shown(self, value: str) -> str:
        """A value as a review is shown it: its code, where it has one, and its name."""
        key = self.key(value)
        if isinstance(key, str):
            return self.called(value)
        return f"{self.codebook.letter(0)}{'.'.join(map(str, key))} {self.called(value)}"

    def described(self, value: str) -> dict[str, str]:
        """A value at each level that is known, by the level's name."""
        key, levels = self.key(value), self._facet.levels
        if isinstance(key, str):
            return {f"{self._facet.name}: {levels[-1].name}": self.called(value)}
        labels = self.codebook.labels(0, key)
        return {
            f"{self._facet.name}: {level.name}": self.codebook.called(0, label)
            for level, label in zip(levels, labels, strict=True)
        }

    def fault(self, value: str) -> str | None:
        """Says in words why this is no value; None if it is one."""
        if not value.strip():
            return "a value is empty"
        code = _CODE.fullmatch(value.strip())
        if code and isinstance(self.key(value), str):
            level = self._facet.levels[-1].name
            return f"{code[1]!r} is no code of a value of the level {level}"
        return None


def sorting_request(
    documents: Sequence[Shown], rule: Rule, prompts: Prompts, config: ScoreConfig, stage: str
) -> Request[BriefSorting]:
    """Step 4 by the rule."""

    def check(sorting: BriefSorting) -> str | None:
        return fault_of_sorting(sorting, len(documents), rule)

    messages = prompts.messages(
        "cluster",
        documents=fenced_documents(documents),
        count=len(documents),
        explain=config.explain,
        **rule.words(),
    )
    schema = Sorting if config.explain else BriefSorting
    return Request(messages, schema, sampling(config), stage, check=check)


def review_request(
    documents: Sequence[Shown],
    clusters: Sequence[tuple[Sequence[int], str, str]],
    rule: Rule,
    prompts: Prompts,
    config: ScoreConfig,
) -> Request[BriefReview]:
    """Step 5 by the rule, both ways.

    Args:
        documents: of the round.
        clusters: places of the documents, value and reason of each.
        rule, prompts, config: as `sorting_request`.
    """

    def check(review: BriefReview) -> str | None:
        return fault_of_review(review, [places for places, _, _ in clusters], rule)

    described = [
        f"Value: {rule.shown(value)}\nDocuments: {', '.join(str(place + 1) for place in places)}"
        + (f"\nReason: {' '.join(reason.split())}" if config.explain and reason.strip() else "")
        for places, value, reason in clusters
    ]
    messages = prompts.messages(
        "verify",
        documents=fenced_documents(documents),
        clusters=fence("cluster", described),
        clusters_count=len(clusters),
        explain=config.explain,
        **rule.words(),
    )
    schema = Review if config.explain else BriefReview
    return Request(messages, schema, sampling(config), "review", check=check)


def fault_of_sorting(sorting: BriefSorting, size: int, rule: Rule) -> str | None:
    """Says in words what is wrong with a sorting of `size` documents; None if nothing is."""
    numbers = renumbered([cluster.documents for cluster in sorting.clusters], size)
    if fault := fault_of_partition(numbers, size):
        return fault
    seen: dict[Key, int] = {}
    for number, cluster in enumerate(sorting.clusters, 1):
        if fault := rule.fault(cluster.value):
            return f"cluster {number}: {fault}"
        if (before := seen.setdefault(rule.key(cluster.value), number)) != number:
            return f"clusters {before} and {number} have one value, {cluster.value!r}"
    return None


def fault_of_review(
    review: BriefReview, clusters: Sequence[Sequence[int]], rule: Rule
) -> str | None:
    """Says in words what is wrong with the review of clusters of places; None if nothing is."""
    home = {place + 1: n for n, places in enumerate(clusters, 1) for place in places}
    verdicts = {verdict.cluster: verdict.valid for verdict in reversed(review.verdicts)}
    if missing := [n for n in range(1, len(clusters) + 1) if n not in verdicts]:
        listed = ", ".join(map(str, missing))
        return f"there is no verdict on cluster {listed} (of 1 to {len(clusters)})"
    moved: set[int] = set()
    for entry in review.misplaced:
        if entry.document not in home:
            return f"there is no document {entry.document} to be misplaced"
        if fault := rule.fault(entry.value):
            return f"misplaced document {entry.document}: {fault}"
        cluster = home[entry.document]
        if verdicts[cluster]:
            return f"cluster {cluster} is said to be valid, and its document {entry.document} not"
        moved.add(cluster)
    for number, places in enumerate(clusters, 1):
        if len(places) > 1 and not verdicts[number] and number not in moved:
            return f"cluster {number} is not valid, and none of its documents is misplaced"
    for group in review.united:
        if len(set(group.clusters)) < 2 or not verdicts.keys() >= set(group.clusters):
            return f"{group.clusters} are not two clusters or more of 1 to {len(clusters)}"
    return None


def merged(
    partition: Sequence[Sequence[int]], values: Sequence[str], rule: Rule
) -> list[tuple[list[int], int]]:
    """Clusters of one value made one: their places, and the number of the first of them.

    What has no value is not joined with anything.
    """
    found: dict[Key, tuple[list[int], int]] = {}
    for number, (places, value) in enumerate(zip(partition, values, strict=True)):
        key = rule.key(value) or f"cluster {number}"
        found.setdefault(key, ([], number))[0].extend(places)
    return [(sorted(places), number) for places, number in found.values()]


def corrected(
    clusters: Sequence[Sequence[int]], values: Sequence[str], review: BriefReview, rule: Rule
) -> Partition:
    """The partition that a review says is right.

    A misplaced document goes to the cluster that was given its value, or with the others of that
    value to a new one; the documents of a cluster that is not valid, none of them misplaced, stand
    alone; then clusters that should have been one are made one. What contradicts itself (a
    misplaced document that is alone, a number that nothing has) is left as it was.

    Args:
        clusters: places of the documents of each.
        values: of each cluster.
        review: with clusters and documents numbered from 1.
        rule: that tells which values are one.
    """
    given: dict[Key, int] = {}
    for number, value in enumerate(values):
        given.setdefault(rule.key(value), number)
    home: dict[int, object] = {p: n for n, places in enumerate(clusters) for p in places}
    moved: set[int] = set()
    for entry in reversed(review.misplaced):  # of two entries on one document the first counts
        place = entry.document - 1
        at = next((n for n, places in enumerate(clusters) if place in places), None)
        if at is None or len(clusters[at]) == 1:
            continue
        key = rule.key(entry.value)
        to = given.get(key)
        home[place] = ("new", key) if to is None or to == at else to
        moved.add(at)
    for verdict in review.verdicts:
        number = verdict.cluster - 1
        if not verdict.valid and 0 <= number < len(clusters) and number not in moved:
            home |= {place: ("alone", place) for place in clusters[number]}
    into = list(range(len(clusters)))
    for group in review.united:
        named = [n - 1 for n in group.clusters if 1 <= n <= len(clusters)]
        joined = {into[n] for n in named}
        into = [min(joined) if n in joined else n for n in into]
    found: dict[object, list[int]] = {}
    for place, cluster in sorted(home.items()):
        found.setdefault(into[cluster] if isinstance(cluster, int) else cluster, []).append(place)
    return list(found.values())
