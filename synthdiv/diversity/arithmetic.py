"""The arithmetic of a round: a reply made into a partition, and a partition into the paper's score.

A round shows the judge K documents. Of its C valid clusters, of sizes s_1..s_C with n documents in
all, the paper's score is C / S with S = n / C, the mean size (section 2.1): C * C / n, which lies
between 1/K and K.
"""

from collections import Counter
from collections.abc import Sequence

Partition = list[list[int]]  # clusters of positions 0..K-1, each position exactly once


def fault_of_partition(clusters: Sequence[Sequence[int]], size: int) -> str | None:
    """Says in words why clusters of document numbers 1..size are no partition; None if they are."""
    counts = Counter(number for cluster in clusters for number in cluster)
    missing = [n for n in range(1, size + 1) if not counts[n]]
    invented = sorted(n for n in counts if not 1 <= n <= size)
    twice = sorted(n for n, c in counts.items() if c > 1 and 1 <= n <= size)
    faults = []
    if invented:
        faults.append(f"there is no document {_listed(invented)} (they go from 1 to {size})")
    if missing:
        faults.append(f"no cluster holds document {_listed(missing)}")
    if twice:
        faults.append(f"document {_listed(twice)} is placed more than once")
    return "; ".join(faults) + "; place every document exactly once" if faults else None


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:20]))
    return shown + (" and more" if len(numbers) > 20 else "")


def first_number(clusters: Sequence[Sequence[int]], size: int) -> int:
    """Returns the number that a judge gave the first document: 1, unless its reply shows another.

    Judges that count from 0, or go on from an earlier number, place every document and call each
    by a wrong number. It is believed where the numbers are K in a row, or hold 0 and not K.
    """
    numbers = {number for cluster in clusters for number in cluster}
    if not numbers:
        return 1
    low, high = min(numbers), max(numbers)
    from_zero = low == 0 and high < size
    return low if from_zero or len(numbers) == size == high - low + 1 else 1


def renumbered(clusters: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Returns clusters of document numbers with the first document as number 1."""
    shift = first_number(clusters, size) - 1
    return [[number - shift for number in cluster] for cluster in clusters]


def fault_of_repair(clusters: Sequence[Sequence[int]], size: int) -> str | None:
    """Says in words why a repaired partition would be made up; None where it would not.

    It would where more than half of the documents 1..size are placed nowhere, or in several
    clusters: what stands there then is the rule of `repair_partition` and not the judge.
    """
    counts = Counter(number for cluster in clusters for number in cluster)
    placed = sum(counts[number] == 1 for number in range(1, size + 1))
    if 2 * placed >= size:
        return None
    return f"the judge placed {placed} of {size} documents in one cluster each"


def repair_partition(clusters: Sequence[Sequence[int]], size: int) -> tuple[Partition, list[int]]:
    """Makes a partition of the clusters that a judge gave, by a stated rule.

    A document placed more than once stays in the first cluster that holds it; a number that no
    document has is ignored; a document that no cluster holds becomes a cluster of its own; clusters
    left empty go.

    Args:
        clusters: document numbers from 1, as the judge wrote them.
        size: K, the documents of the round.

    Returns:
        positions from 0, clusters in the order given and the added ones last; and for each cluster
        its place in `clusters`, -1 for an added one.
    """
    placed: set[int] = set()
    partition: Partition = []
    origin: list[int] = []
    for place, cluster in enumerate(clusters):
        kept = []
        for number in cluster:
            if 1 <= number <= size and number not in placed:
                placed.add(number)
                kept.append(number - 1)
        if kept:
            partition.append(kept)
            origin.append(place)
    for number in range(1, size + 1):
        if number not in placed:
            partition.append([number - 1])
            origin.append(-1)
    return partition, origin


def counted_sizes(sizes: Sequence[int], verdicts: Sequence[bool], policy: str) -> list[int]:
    """Sizes of the clusters that count, after a policy for the rejected ones.

    Args:
        sizes: documents in each cluster of a partition.
        verdicts: whether each was found valid.
        policy: "drop" leaves rejected clusters and their documents out, "split" makes each of
            their documents a cluster, "keep" counts them as they are.
    """
    if policy == "keep":
        return list(sizes)
    valid = [s for s, ok in zip(sizes, verdicts, strict=True) if ok]
    if policy == "drop":
        return valid
    rejected = sum(s for s, ok in zip(sizes, verdicts, strict=True) if not ok)
    return valid + [1] * rejected


def round_score(sizes: Sequence[int]) -> float:
    """The paper's C / S of one round: clusters squared over documents; NaN where none is left."""
    documents = sum(sizes)
    return len(sizes) ** 2 / documents if documents else float("nan")


def score_of_labels(labels: Sequence[object]) -> float:
    """The paper's C / S of one round, of the cluster of each of its documents."""
    return round_score(list(Counter(labels).values()))


def shared_pairs(sizes: Sequence[int]) -> tuple[int, int]:
    """Ordered pairs of different documents that share a cluster, and all such pairs."""
    documents = sum(sizes)
    return sum(s * (s - 1) for s in sizes), documents * (documents - 1)
