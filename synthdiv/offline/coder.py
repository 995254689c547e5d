"""The offline judge asked for values at levels: words stand for subjects, measurements for manner.

Notes of a document are its most telling words. Documents are clustered by the words of their notes
at one distance a level, and each cluster is a value that is described by its words; a document gets
the value with which it shares most. The other facets are told from the measurements of
`diversity.reading`. It fills in the same codebook as a language model and knows no meaning: two
words for one thing are two things. Asked to sort by one rule it puts together what gets one value.
It cannot think of a value that the list lacks, so all documents that share no word with the list
are one cluster, and a review of its own sorting finds nothing: it would sort in the same way again.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from synthdiv.diversity.coding import Codes, GatheredValues, Notes
from synthdiv.diversity.reading import MANNER_NAMES, Reading, commonness_weight, read, stem
from synthdiv.diversity.ruling import BriefReview, BriefSorting, Review, Sorting
from synthdiv.llm.fences import fenced
from synthdiv.offline.brief import brief

_TERMS = 8  # words that note a document's subject
_WORDS = 24  # words that describe a value
_NAMED = 3  # of them make its name
_CUTS = (0.99, 0.97, 0.9)  # cosine distances up to which notes are one field, discipline, specialty
_NONE = "none"  # what a document is that shares no word with any value
_CLUSTER = re.compile(r"^Value: (.*)\nDocuments: ([\d, ]+)$", re.MULTILINE)
_VALUE = re.compile(r"^ {4,}([A-Z]\d+(?:\.\d+)*) ([^:\n]*)(?:: (.*))?$", re.MULTILINE)
_LEVEL = re.compile(r"^- ([^:\n]+): ")
_FACET = re.compile(r"^(?:[A-Z]\. )?([a-z][a-z ]*): \S")

# What a facet other than the subject goes by: (value, measurement, least of it); the first fits.
_RULES: dict[str, tuple[tuple[str, str, float], ...]] = {
    "form": (
        ("listing", "list lines", 1.0),
        ("program or table", "figures and symbols", 1.5),
        ("conversation", "questions and exclamations", 1.5),
        ("story", "past tense", 1.0),
        ("prose", "word length", -math.inf),
    ),
    "style": (
        ("personal", "first person", 1.0),
        ("addressing the reader", "address of the reader", 1.0),
        ("abstract", "abstract nouns", 1.0),
        ("terse", "function words", -math.inf),
    ),
    "audience": (
        ("expert readers", "word length", 1.0),
        ("general readers", "word length", -0.5),
        ("young readers", "word length", -math.inf),
    ),
}


def _facets(prompt: str) -> list[tuple[str, list[str]]]:
    """Facets with the names of their levels, as a prompt explains them."""
    found: list[tuple[str, list[str]]] = []
    begun = False  # whether the line before belongs to a facet's heading or levels
    for line in prompt.splitlines():
        if begun and (level := _LEVEL.match(line)):
            found[-1][1].append(level[1])
        elif facet := _FACET.match(line):
            found.append((facet[1], []))
            begun = True
        else:
            begun = False
    return [(name, levels) for name, levels in found if levels]


def _texts(messages: Sequence[Mapping[str, str]], kind: str) -> list[str]:
    """The fenced texts of one kind in what was asked."""
    asked = [message["content"] for message in messages if message["role"] == "user"]
    return [block.text for text in asked for block in fenced(text) if block.kind == kind]


def _ruled(facet: str, reading: Reading) -> str | None:
    """The value of a document in a facet that goes by measurements; None in others."""
    for value, measurement, least in _RULES.get(facet, ()):
        if reading.manner[MANNER_NAMES.index(measurement)] >= least:
            return value
    return None


def _note(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    facets = _facets(messages[0]["content"])
    documents = []
    for number, document in enumerate(_texts(messages, "document"), 1):
        reading = read(document)
        words = ", ".join(reading.terms[:_TERMS]) or "none"
        values: list[str] = []
        for facet, levels in facets:
            values += [words if facet == "subject" else _ruled(facet, reading) or _NONE] * len(
                levels
            )
        documents.append({"document": number, "values": values})
    return json.dumps({"documents": documents})


def _gather(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    facet, levels = _facets(messages[0]["content"])[0]
    notes: list[str] = []
    for block in _texts(messages, "note"):
        first, _, written = block.partition("\n")
        notes += [written.split(" / ")[-1]] * int(first.split()[0])
    notes = [note for note in notes if note != "none"]
    if facet == "subject" and notes:
        values = _nested([note.split(", ") for note in notes], levels)
    else:
        measured = {value: measurement for value, measurement, _ in _RULES.get(facet, ())}
        values = [
            {"level": level, "name": value, "meaning": f"told from {measured.get(value, 'words')}"}
            for value, _ in Counter(notes).most_common()
            for level in levels
        ]
    if not values:
        values = [{"level": levels[0], "name": "all", "meaning": "nothing tells them apart"}]
    return json.dumps({"values": values})


def _nested(notes: Sequence[Sequence[str]], levels: Sequence[str]) -> list[dict[str, str]]:
    """Notes clustered at one distance a level, as an outline of values."""
    groups = _grouped([_vector(words) for words in notes], _CUTS[-len(levels) :])
    values: list[dict[str, str]] = []

    def describe(members: Sequence[int], depth: int) -> None:
        if depth == len(levels):
            return
        parts: dict[int, list[int]] = {}
        for member in members:
            parts.setdefault(groups[depth][member], []).append(member)
        for part in parts.values():
            counts = Counter(word for member in part for word in notes[member])
            words = [word for word, _ in counts.most_common(_WORDS)]
            meaning = "documents that speak of " + ", ".join(words)
            name = ", ".join(words[:_NAMED])
            values.append({"level": levels[depth], "name": name, "meaning": meaning})
            describe(part, depth + 1)

    describe(range(len(notes)), 0)
    return values


def _vector(words: Sequence[str]) -> dict[str, float]:
    """Stems of words and their weights, a unit vector."""
    weights = {stem(word): commonness_weight(word) for word in words}
    length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {word: weight / length for word, weight in weights.items()}


def _grouped(vectors: Sequence[Mapping[str, float]], cuts: Sequence[float]) -> list[list[int]]:
    """The group of each vector at each cut: average linkage of cosine distances."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(vectors) == 1:
        return [[1]] * len(cuts)
    apart = [
        1.0 - sum(weight * other.get(word, 0.0) for word, weight in vector.items())
        for place, vector in enumerate(vectors)
        for other in vectors[place + 1 :]
    ]
    tree = linkage(np.maximum(apart, 0.0), "average")
    return [fcluster(tree, cut, "distance").tolist() for cut in cuts]


def _assign(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    codebook = messages[0]["content"]
    facets = [name for name, _ in _facets(codebook)]
    values: dict[str, list[tuple[str, str, str]]] = {}
    for code, name, meaning in _VALUE.findall(codebook):
        if code != f"{code[0]}0":
            values.setdefault(code[0], []).append((code, name.strip(), meaning))
    documents = []
    for number, document in enumerate(_texts(messages, "document"), 1):
        reading = read(document)
        codes = []
        for place, facet in enumerate(facets):
            letter = chr(ord("A") + place)
            known = values.get(letter, [])
            by_name = {name: code for code, name, _ in known}  # the finest of equal names
            code = by_name.get(_ruled(facet, reading) or "") or _nearest(reading, known)
            codes.append(code or f"{letter}0")
        documents.append({"document": number, "codes": codes})
    return json.dumps({"documents": documents})


def _nearest(reading: Reading, values: Sequence[tuple[str, str, str]]) -> str | None:
    """The code of the finest value whose words a document has most of; None if it has none."""
    terms = {stem(word): 1.0 / (place + _NAMED) for place, word in enumerate(reading.terms)}
    best, most = None, (0.0, 0)
    for code, name, meaning in values:
        words = {stem(word) for word in re.findall(r"[^\W\d_]+", f"{name} {meaning}".lower())}
        shared = sum(weight for word, weight in terms.items() if word in words)
        fit = (shared / math.sqrt(len(words) or 1), code.count("."))
        if shared and fit > most:
            best, most = code, fit
    return best


def _ruled_values(messages: Sequence[Mapping[str, str]]) -> list[str]:
    """The value of each document by the rule of the prompt: a code, or "none" of the list."""
    prompt = messages[0]["content"]
    facet = _facets(prompt)[0][0]
    listed = _VALUE.findall(prompt)
    known = [
        (code, name.strip(), meaning)
        for code, name, meaning in listed
        if not any(other.startswith(f"{code}.") for other, _, _ in listed)
    ]
    by_name = {name: code for code, name, _ in known}
    found = []
    for document in _texts(messages, "document"):
        reading = read(document)
        found.append(by_name.get(_ruled(facet, reading) or "") or _nearest(reading, known) or _NONE)
    return found


def _sort(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    clusters: dict[str, list[int]] = {}
    for number, value in enumerate(_ruled_values(messages), 1):
        clusters.setdefault(value, []).append(number)
    why = "the words that describe the value are those that the documents have most of"
    return json.dumps(
        {
            "clusters": [
                {"value": value, "documents": numbers, "reason": why}
                for value, numbers in clusters.items()
            ]
        }
    )


def _review(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    """Sorts once more, by the same words: of its own sorting it finds that all is right."""
    values = _ruled_values(messages)
    verdicts, misplaced = [], []
    united: dict[str, list[int]] = {}
    for number, block in enumerate(_texts(messages, "cluster"), 1):
        given, told = _CLUSTER.findall(block)[0]
        members = [int(n) for n in told.split(",")]
        counts = Counter(values[n - 1] for n in members)
        most = max(counts, key=lambda value: (counts[value], value == given.split(" ")[0]))
        united.setdefault(most, []).append(number)
        wrong = [n for n in members if values[n - 1] != most]
        misplaced += [{"document": n, "value": values[n - 1]} for n in wrong]
        why = f"{len(wrong)} of {len(members)} documents have more words of other values"
        verdicts.append({"cluster": number, "valid": not wrong, "reason": why})
    joined = [{"clusters": numbers} for numbers in united.values() if len(numbers) > 1]
    return json.dumps({"verdicts": verdicts, "misplaced": misplaced, "united": joined})


HANDLERS: dict[type[BaseModel], Callable[..., str]] = {
    Notes: _note,
    GatheredValues: _gather,
    Codes: _assign,
    Sorting: _sort,
    BriefSorting: brief(_sort),
    Review: _review,
    BriefReview: brief(_review),
}
