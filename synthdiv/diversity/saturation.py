"""Where a score cannot rise or fall any more: nearly all documents of a round differ, or none do.

Corpora that are more diverse than one whose rounds are nearly all different would score the same,
and so would those that are less diverse than one whose rounds are nearly all alike. Another level,
or another number of documents a round, may still tell them apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synthdiv.diversity.agent import Round
from synthdiv.diversity.config import CORRECTED

SATURATED, FLAT = 0.85, 1.5  # mean clusters above this share of K, or below this number
_MOST_DOCUMENTS = 40  # of a round: more are hardly read with care
_STEP = 5
_KINDS = np.geomspace(1, 1e6, 2000)


def resolves(clusters: float, size: int) -> bool:
    """Whether a mean number of clusters of `size` documents leaves room on both sides."""
    return FLAT <= clusters <= SATURATED * size


def saturation(clusters: float, size: int, levels: Mapping[str, float]) -> str | None:
    """Says in words what a mean number of clusters cannot tell apart, and what still can.

    Args:
        clusters: of a round.
        size: documents of a round (K).
        levels: mean number of clusters at other levels of the same rounds, by name.
    """
    if resolves(clusters, size):
        return None
    if clusters < FLAT:
        found = f"{clusters:.1f} clusters in a round of {size}: less diverse corpora would"
        other = "a finer level"
    else:
        found = f"{clusters:.1f} of {size} documents of a round differ: more diverse corpora would"
        other = "a broader level"
    named = [
        f"{name} ({count:.1f} clusters)" for name, count in levels.items() if resolves(count, size)
    ]
    documents = documents_that_resolve(clusters, size)
    named += [f"K = {documents} (`Score.documents_per_round`)"] if documents else []
    still = f"{' or '.join(named)} still resolves" if named else f"{other} may resolve"
    return f"{found} score the same; {still}"


def documents_that_resolve(clusters: float, size: int) -> int | None:
    """The fewest documents a round, in fives, that would tell more corpora apart.

    A saturated round is taken for one of equally frequent clusters, whose number follows from
    those that it shows; a flat one for strays in one large cluster, whose number grows with K.

    Args:
        clusters: mean of a round.
        size: documents of a round.

    Returns:
        more than `size`; None where too many would be needed, or no round tells how many.
    """
    if clusters < FLAT:
        strays = (clusters - 1) / (size - 1)

        def expected(documents: int) -> float:
            return 1 + strays * (documents - 1)

    else:
        if clusters >= size:
            return None

        kinds = next((n for n in _KINDS if _shown(n, size) >= clusters), _KINDS[-1])

        def expected(documents: int) -> float:
            return _shown(kinds, documents)

    larger = range(size - size % _STEP + _STEP, _MOST_DOCUMENTS + 1, _STEP)
    return next((n for n in larger if resolves(expected(n), n)), None)


def _shown(kinds: float, documents: int) -> float:
    """How many of equally frequent kinds some documents are expected to be of."""
    return float(kinds * (1 - (1 - 1 / kinds) ** documents))


def saturation_of(rounds: Sequence[Round], size: int, level: str) -> str | None:
    """What the clusters of some rounds cannot tell apart, in words; None if nothing is wrong.

    Args:
        rounds: documents sorted into clusters; failed ones are left out.
        size: documents of a round.
        level: that clusters are of, where they are sorted by a codebook.
    """
    done = [one for one in rounds if not one.failed]
    if not done:
        return None
    clusters = float(np.mean([len(one.partition(CORRECTED)) for one in done]))
    broader: dict[str, float] = {}
    if (codebook := done[0].criteria.codebook) is not None:
        facet, depth = codebook.find(level)
        described = codebook.facets[facet]
        for above in reversed(described.levels[:depth]):
            name = f"{described.name}: {above.name}"
            values = [{c.metadata.get(name, c.name) for c in one.clusters} for one in done]
            broader[f"{described.name}.{above.name}"] = float(np.mean(list(map(len, values))))
    return saturation(clusters, size, broader)
