"""Describing documents by values at levels: how a codebook is made, and how documents get codes.

The second way of asking beside the paper's clusters. A few documents at a time are described in
free words; the words of all are gathered, facet by facet, into a closed list of nested values; every
document of a round then gets one code a facet. A document's code does not depend on its round, a
reply takes some ten tokens a document, and every level gives a clustering of the round.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, Field

from synthdiv.diversity.codebook import Codebook, Facet, Value

_MOST_NOTES = 400  # different notes of one facet shown to one gathering


class DocumentNotes(BaseModel):
    """One document in free words."""

    document: int
    values: list[str] = Field(description="One phrase for each level of each facet, in order.")


class Notes(BaseModel):
    """A handful of documents in free words."""

    documents: list[DocumentNotes]


class GatheredValue(BaseModel):
    """One value of a closed list."""

    level: str = Field(description="The name of its level.")
    name: str = Field(description="A few words.")
    meaning: str = Field(description="One sentence: what belongs there.")


class GatheredValues(BaseModel):
    """A closed list in the order of an outline: each value before those that belong to it."""

    values: list[GatheredValue]


class DocumentCodes(BaseModel):
    """The codes of one document."""

    document: int
    codes: list[str] = Field(description="One code a facet, in order.")


class Codes(BaseModel):
    """The codes of a round's documents."""

    documents: list[DocumentCodes]


def fault_of_numbers(numbers: Sequence[int], count: int) -> str | None:
    """Says in words why these are not the numbers 1..count, each once; None if they are."""
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if missing:
        return f"document {', '.join(map(str, missing))} is missing"
    if len(numbers) != count:
        return f"there are {count} documents, and the reply describes {len(numbers)}"
    return None


def fault_of_notes(notes: Notes, count: int, facets: Sequence[Facet]) -> str | None:
    """Says in words what is wrong with notes of `count` documents; None if nothing is."""
    fault = fault_of_numbers([d.document for d in notes.documents], count)
    wanted = sum(len(facet.levels) for facet in facets)
    for document in notes.documents:
        if fault is None and len(document.values) != wanted:
            return f"document {document.document} has {len(document.values)} values, not {wanted}"
    return fault


def fault_of_codes(codes: Codes, count: int, codebook: Codebook) -> str | None:
    """Says in words what is wrong with the codes of `count` documents; None if nothing is."""
    fault = fault_of_numbers([d.document for d in codes.documents], count)
    for document in codes.documents:
        if fault is None and (wrong := codebook.fault(document.codes)):
            return f"document {document.document}: {wrong}"
    return fault


def noted(notes: Sequence[Notes], facets: Sequence[Facet], facet: int) -> list[str]:
    """What was noted in one facet, the commonest first, as blocks of the gathering prompt."""
    start = sum(len(f.levels) for f in facets[:facet])
    end = start + len(facets[facet].levels)
    counts: Counter[tuple[str, ...]] = Counter()
    written: dict[tuple[str, ...], str] = {}
    for note in notes:
        for document in note.documents:
            values = [" ".join(v.split()) for v in document.values[start:end]]
            key = tuple(v.casefold() for v in values)
            counts[key] += 1
            written.setdefault(key, " / ".join(values))
    ranked = sorted(counts, key=lambda key: (-counts[key], key))[:_MOST_NOTES]
    return [
        f"{counts[key]} document{'s' if counts[key] > 1 else ''}\n{written[key]}" for key in ranked
    ]


def nested(gathered: GatheredValues, facet: Facet) -> Facet:
    """The facet with its values: the outline turned into a tree.

    A value whose level skips one below its predecessor's is put at the next level; one with an
    unknown level is taken for the finest.
    """
    depths = {level.name.casefold(): depth for depth, level in enumerate(facet.levels)}
    rows: list[tuple[int, GatheredValue]] = []
    for value in gathered.values:
        depth = depths.get(value.level.strip().casefold(), len(facet.levels) - 1)
        rows.append((min(depth, rows[-1][0] + 1 if rows else 0), value))

    def tree(first: int, last: int, depth: int) -> tuple[Value, ...]:
        starts = [i for i in range(first, last) if rows[i][0] == depth]
        return tuple(
            Value(rows[i][1].name, rows[i][1].meaning, tree(i + 1, end, depth + 1))
            for i, end in zip(starts, [*starts, last][1:], strict=True)
        )

    return dataclasses.replace(facet, values=tree(0, len(rows), 0))


def fault_of_values(gathered: GatheredValues, facet: Facet) -> str | None:
    """Says in words what is wrong with a closed list; None if nothing is."""
    names = [level.name for level in facet.levels]
    if not gathered.values:
        return "the list has no values"
    for value in gathered.values:
        if value.level.strip().casefold() not in [name.casefold() for name in names]:
            return f"{value.name!r} is of level {value.level!r}; the levels are {', '.join(names)}"
    if gathered.values[0].level.strip().casefold() != names[0].casefold():
        return f"the list begins with a value of the first level, {names[0]}"
    for level in facet.levels:
        count = sum(v.level.strip().casefold() == level.name.casefold() for v in gathered.values)
        if count > level.most:
            return f"{count} values of level {level.name}; at most {level.most}"
    return None
