"""Clusters of documents by their words alone: what the control variate and the offline judge use.

The documents of a round are sorted by agglomerative clustering (average linkage up to a fixed
distance) of what `reading` says of them: how far two documents are apart is the largest of their
distances in the facets asked for, each in units of what counts as clearly different. It knows
words, not meaning.
"""

import math
from collections.abc import Sequence

import numpy as np

from synthdiv.diversity.reading import MANNER_NAMES, Reading, cosines, read, unshared

# Facets a criterion can be about: the words in its name that say so, and the measurements it takes.
# "content" stands for the content vector.
FACETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Subject vocabulary": (
        ("subject", "topic", "field", "theme", "content", "domain", "discipline"),
        ("content",),
    ),
    "Manner of address": (
        ("address", "style", "tone", "voice", "audience", "persona", "register"),
        ("address of the reader", "first person", "third persons", "questions and exclamations"),
    ),
    "Arrangement on the page": (
        ("arrangement", "structure", "format", "layout", "organisation", "organization"),
        ("line breaks", "list lines", "figures and symbols"),
    ),
    "Sentence length": (
        ("sentence", "complexity", "syntax"),
        ("sentence length", "function words"),
    ),
    "Word difficulty": (
        ("word", "vocabulary", "difficulty", "technical", "reading level"),
        ("word length",),
    ),
    "Vocabulary richness": (("richness", "variety"), ("vocabulary richness",)),
}
PLACES = {
    facet: [MANNER_NAMES.index(n) for n in names if n != "content"]
    for facet, (_, names) in FACETS.items()
}

# Measurements that count only between texts that tell the same things, by the facet they belong to:
# between other texts they say little, and would blur the others.
_FINE = {
    "Manner of address": ("past tense", "contractions", "modal verbs"),
    "Word difficulty": ("abstract nouns",),
}
_FINE_PLACES = {
    facet: [MANNER_NAMES.index(n) for n in (*names, *_FINE.get(facet, ())) if n != "content"]
    for facet, (_, names) in FACETS.items()
}
_WORDED = "Manner of address"  # the facet that the choice of words belongs to

CONTENT_APART = 0.94  # 1 - cosine from which two documents are about different things
MANNER_APART = 1.8  # usual spreads, root mean square over a facet, from which they differ clearly
SAME_THINGS = (0.6, 0.72)  # `unshared` telling words up to which they are the same; where it ends
REWORDING = 4.0  # what `unshared` words weigh beside the spreads of manner
FINE_APART = 3.6  # manner and wording from which texts that tell the same things differ clearly
_MAY_BE_SAME = 0.6  # content distance beyond which texts do not tell the same things


def facets_named(criteria: Sequence[str]) -> tuple[str, ...]:
    """The facets that criteria are about, told by their names; all of them where none is known.

    Args:
        criteria: lines that begin with the criterion's name.
    """
    found = []
    for line in criteria:
        name = line.split("(")[0].split(":")[0].casefold()
        exact = [f for f in FACETS if f.casefold() == name.strip()]
        meant = exact or [f for f, (words, _) in FACETS.items() if any(w in name for w in words)]
        found += meant[:1]
    return tuple(dict.fromkeys(found)) or tuple(FACETS)


def distances(texts: Sequence[str], facets: Sequence[str] = tuple(FACETS)) -> np.ndarray:
    """How far documents are apart, `[K, K]`; from 1.0 on, clearly.

    Args:
        texts: the documents.
        facets: names of `FACETS` that count.
    """
    readings = [read(text) for text in texts]
    content = (1.0 - cosines(readings)) / CONTENT_APART
    apart = content.copy() if "Subject vocabulary" in facets else np.zeros_like(content)
    manner_KF = np.stack([r.manner for r in readings])
    # A short text shows its manner unreliably, and so the less of a difference.
    sure = np.sqrt(np.minimum(np.array([r.words for r in readings]) / 80.0, 1.0))
    sure = np.minimum(sure[:, None], sure[None, :])
    for facet in facets:
        places = PLACES[facet]
        if places:
            gaps = manner_KF[:, None, places] - manner_KF[None, :, places]
            np.maximum(apart, np.sqrt((gaps**2).mean(-1)) * sure / MANNER_APART, out=apart)
    _look_closer(apart, content, sure, readings, facets)
    return apart


def _look_closer(
    apart: np.ndarray,
    content: np.ndarray,
    sure: np.ndarray,
    readings: Sequence[Reading],
    facets: Sequence[str],
) -> None:
    """Sets texts that tell the same things in different ways apart; changes `apart`.

    What a text tells accounts for much of how it is written. Where the telling words are largely
    the same, smaller differences count: all measurements of the facets together, and the choice of
    words. Without this, styles and personas of generated texts on one topic are not seen.
    """
    places = [place for facet in facets for place in _FINE_PLACES[facet]]
    if not places:
        return
    same, end = SAME_THINGS
    for i, j in zip(*np.nonzero(np.triu(content < _MAY_BE_SAME, 1)), strict=True):
        one, other = readings[i], readings[j]
        told = unshared(one.telling, other.telling)
        share = min((end - told) / (end - same), 1.0)
        if share <= 0.0:
            continue
        gaps = one.manner[places] - other.manner[places]
        fine = math.sqrt(float(gaps @ gaps) / len(places))
        if _WORDED in facets:
            fine += REWORDING * (told + unshared(one.wording, other.wording))
        fine *= share * sure[i, j] / FINE_APART
        apart[i, j] = apart[j, i] = max(apart[i, j], fine)


def partition(texts: Sequence[str], facets: Sequence[str] = tuple(FACETS)) -> list[int]:
    """Sorts documents: the number of its cluster for each, `[K]`."""
    if len(texts) < 2:
        return [0] * len(texts)
    return _cut(distances(texts, facets))


def _cut(apart: np.ndarray) -> list[int]:
    from scipy.cluster.hierarchy import fcluster, linkage

    rows, columns = np.triu_indices(len(apart), 1)
    tree = linkage(np.maximum(apart[rows, columns], 0.0), "average")
    labels = fcluster(tree, 1.0, "distance").tolist()
    order = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return [order[label] for label in labels]
