"""The offline judge: answers the cluster agent's five prompts without a language model.

It is told what a server is told and answers with the JSON that the schemas ask for. It sorts the
documents of a round by agglomerative clustering (average linkage up to a fixed distance) of what
`reading` says of them: how far two documents are apart is the largest of their distances in the
facets that the criteria at the top of the prompt name, each in units of what counts as clearly
different. It knows words, not meaning: a stand-in that lets everything run, and no LLM.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from synthdiv.llm.fences import fenced
from synthdiv.llm.offline.reading import MANNER_NAMES, Reading, cosines, read, unshared

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
METADATA = ("Subject vocabulary", "Manner of address", "Arrangement on the page")
METRICS = ("Sentence length", "Word difficulty", "Vocabulary richness")
_PLACES = {
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
_DIFFERS = 0.05  # spread in a handful from which documents differ in a measurement at all
_MAY_BE_SAME = 0.6  # content distance beyond which texts do not tell the same things
_DOUBTFUL = 0.995  # a mean distance to its cluster beyond this is rejected in verification


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
        places = _PLACES[facet]
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


def _texts(messages: Sequence[Mapping[str, str]], *kinds: str) -> list[list[str]]:
    """The fenced texts of all messages, by kind. A re-ask repeats nothing, so the first count."""
    found = [block for m in messages if m["role"] != "assistant" for block in fenced(m["content"])]
    return [[block.text for block in found if block.kind == kind] for kind in kinds]


def _propose(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    (documents,) = _texts(messages, "document")
    readings = [read(text) for text in documents]
    spread = np.stack([r.manner for r in readings]).std(0) if readings else np.zeros(1)

    def variation(facet: str) -> float:
        places = _PLACES[facet]
        return float(spread[places].mean()) if places else float("inf")

    # Where the documents do not differ at all, nothing in them suggests the criterion.
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
    """What a document is in a facet, in words."""
    if facet == "Subject vocabulary":
        return ", ".join(reading.terms[:4]) or "no words"
    places = _PLACES[facet]
    highest = max(places, key=lambda p: reading.manner[p])
    return MANNER_NAMES[highest] if reading.manner[highest] > 0.5 else "none stands out"


def _score(facet: str, manner: np.ndarray) -> int:
    """1 to 5: how much of a facet's first measurement there is."""
    return int(np.clip(round(3 + float(manner[_PLACES[facet][0]])), 1, 5))


def _gather(kind: str) -> Callable[..., str]:
    def answer(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
        (proposals,) = _texts(messages, "proposal")
        gathered = []
        for proposal in proposals[:5]:  # they come ranked by how often they were proposed
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
    """Words that most documents of a cluster have among their most telling ones."""
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
    """Positions in the line "Documents: 1, 4" of a cluster as the prompt shows it."""
    for line in block.split("\n"):
        if line.startswith("Documents: "):
            numbers = line.removeprefix("Documents: ").split(",")
            return [int(n) - 1 for n in numbers if 0 < int(n) <= documents]
    return []


HANDLERS: dict[str, Callable[..., str]] = {
    "CriteriaProposal": _propose,
    "GatheredMetadata": _gather("metadata"),
    "GatheredMetrics": _gather("metrics"),
    "CriteriaSummary": _summarise,
    "Clustering": _cluster,
    "Verification": _verify,
}
