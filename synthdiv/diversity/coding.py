"""Describing documents by values at levels: how a codebook is made, and how documents get codes.

The second way of asking beside the paper's clusters. A few documents at a time are described in
free words; the words of all are gathered, facet by facet, into a closed list of nested values; then
every document of a round gets one code a facet. A document's code does not depend on its round, a
reply takes some ten tokens a document, and every level gives a clustering of the round.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, Field

from synthdiv.diversity.codebook import OTHER, Codebook, Facet, Value, is_other, same_name
from synthdiv.diversity.config import ScoreConfig
from synthdiv.diversity.criteria import sampling
from synthdiv.diversity.documents import Shown, fenced_documents
from synthdiv.diversity.prompts import Prompts
from synthdiv.errors import UserError
from synthdiv.llm import Request, Session, fence, together

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


@dataclasses.dataclass(frozen=True)
class Handful:
    """Documents that are shown together, and the number that makes it a question of its own."""

    number: int
    documents: Sequence[Shown]


def note_request(
    handful: Handful, prompts: Prompts, config: ScoreConfig, stage: str = "notes"
) -> Request[Notes]:
    """A handful of documents in free words."""
    count = len(handful.documents)

    def check(notes: Notes) -> str | None:
        return fault_of_notes(notes, count, prompts.facets)

    messages = prompts.messages(
        "note",
        facets="\n\n".join(facet.described() for facet in prompts.facets),
        documents=fenced_documents(handful.documents),
        levels=", ".join(level.name for facet in prompts.facets for level in facet.levels),
        count=count,
    )
    how = sampling(config)
    return Request(messages, Notes, how, stage, repeat=handful.number, check=check)


def gather_request(
    notes: Sequence[Notes], facet: int, prompts: Prompts, config: ScoreConfig
) -> Request[GatheredValues]:
    """The notes of one facet, to be made a closed list."""
    described = prompts.facets[facet]

    def check(gathered: GatheredValues) -> str | None:
        return fault_of_values(gathered, described)

    messages = prompts.messages(
        "gather",
        facet=described.described(),
        limits=", ".join(f"{level.most} of level {level.name}" for level in described.levels),
        notes=fence("note", noted(notes, prompts.facets, facet)),
        name=described.name,
    )
    return Request(messages, GatheredValues, sampling(config), "gathering", check=check)


def assign_request(
    documents: Sequence[Shown],
    codebook: Codebook,
    prompts: Prompts,
    config: ScoreConfig,
    stage: str,
) -> Request[Codes]:
    """The codes of some documents."""

    def check(codes: Codes) -> str | None:
        return fault_of_codes(codes, len(documents), codebook)

    messages = prompts.messages(
        "assign",
        codebook=codebook.text,
        documents=fenced_documents(documents),
        letters=", ".join(
            f"{codebook.letter(n)} ({facet.name})" for n, facet in enumerate(codebook.facets)
        ),
        count=len(documents),
    )
    return Request(messages, Codes, sampling(config), stage, check=check)


async def gather_codebook(
    session: Session,
    handfuls: Sequence[Sequence[Shown]],
    first: int,
    unseen: Sequence[Shown],
    prompts: Prompts,
    config: ScoreConfig,
) -> Codebook:
    """Makes a codebook: notes, closed lists, and a look at whether they cover the corpus.

    Args:
        session: who answers.
        handfuls: the documents of each note.
        first: number of the first handful among those of all codebooks.
        unseen: documents that made no note.
        prompts: the templates and facets.
        config: how replies are drawn; what coverage is enough.

    Raises:
        UserError: the judge noted nothing of use, or gave no usable list of values.
    """
    asked = [Handful(number, documents) for number, documents in enumerate(handfuls, first)]
    notes = await _noted_of(session, asked, prompts, config)
    if not notes:
        raise UserError(f"no usable notes for codebook {first // max(len(handfuls), 1)}")
    codebook = await _codebook_of(session, notes, prompts, config)
    if not unseen:
        return codebook
    missed = await _missed(session, codebook, unseen, prompts, config)
    share = 1 - len(missed) / len(unseen)
    if share >= config.least_coverage:
        return dataclasses.replace(codebook, coverage=share)
    size = config.criteria_documents
    # Numbers below those of all handfuls: what was missed may hold a handful's documents again.
    again = [
        Handful(-1 - first - place, missed[place : place + size])
        for place in range(0, len(missed), size)
    ]
    notes += await _noted_of(session, again, prompts, config)
    codebook = await _codebook_of(session, notes, prompts, config)
    missed = await _missed(session, codebook, unseen, prompts, config)
    return dataclasses.replace(codebook, coverage=1 - len(missed) / len(unseen))


async def _noted_of(
    session: Session, handfuls: Sequence[Handful], prompts: Prompts, config: ScoreConfig
) -> list[Notes]:
    replies = await together(
        *(session.ask(note_request(handful, prompts, config)) for handful in handfuls)
    )
    return [reply.value for reply in replies if reply.value is not None and not reply.failure]


async def _codebook_of(
    session: Session, notes: Sequence[Notes], prompts: Prompts, config: ScoreConfig
) -> Codebook:
    replies = await together(
        *(
            session.ask(gather_request(notes, number, prompts, config))
            for number in range(len(prompts.facets))
        )
    )
    facets = []
    for facet, reply in zip(prompts.facets, replies, strict=True):
        gathered = nested(reply.value, facet) if reply.value is not None else facet
        if not gathered.values:
            raise UserError(f"the judge gave no values of {facet.name!r}: {reply.failure}")
        facets.append(gathered)
    return Codebook(tuple(facets))


async def _missed(
    session: Session,
    codebook: Codebook,
    documents: Sequence[Shown],
    prompts: Prompts,
    config: ScoreConfig,
) -> list[Shown]:
    """Those of some documents that have no value at the headline's level."""
    size = config.documents_per_round
    parts = [documents[i : i + size] for i in range(0, len(documents), size)]
    replies = await together(
        *(
            session.ask(assign_request(part, codebook, prompts, config, "coverage"))
            for part in parts
        )
    )
    facet, depth = codebook.find(config.level)
    missed: list[Shown] = []
    for part, reply in zip(parts, replies, strict=True):
        given, _ = codes_of(reply.value, len(part), codebook)
        missed += [
            document
            for document, codes in zip(part, given, strict=True)
            if is_other(codebook.label(facet, codes[facet], depth))
        ]
    return missed


def codes_of(
    reply: Codes | None, count: int, codebook: Codebook
) -> tuple[list[tuple[str, ...]], int]:
    """The codes of a round's documents, a code that leads nowhere replaced by "other".

    Args:
        reply: as the judge gave it.
        count: documents of the round.
        codebook: what the codes are of.

    Returns:
        a tuple of codes for each document, `[K]`; how many documents had one replaced.
    """
    others = tuple(f"{codebook.letter(n)}0" for n in range(len(codebook.facets)))
    given = {d.document: d.codes for d in reversed(reply.documents)} if reply else {}
    found, mended = [], 0
    for number in range(1, count + 1):
        codes = [code.strip() for code in given.get(number, ())]
        codes += list(others[len(codes) :])
        sound = tuple(
            code if codebook.place(facet, code) is not None else others[facet]
            for facet, code in enumerate(codes[: len(others)])
        )
        mended += codebook.fault(given.get(number, ())) is not None
        found.append(sound)
    return found, mended


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
    unknown level is taken for the finest. Two of one name under one value are one.
    """
    depths = {level.name.casefold(): depth for depth, level in enumerate(facet.levels)}
    rows: list[tuple[int, GatheredValue]] = []
    for value in gathered.values:
        depth = depths.get(value.level.strip().casefold(), len(facet.levels) - 1)
        if value.name.strip():
            rows.append((min(depth, rows[-1][0] + 1 if rows else 0), value))

    def tree(rows: Sequence[tuple[int, GatheredValue]], depth: int) -> tuple[Value, ...]:
        found: dict[str, tuple[GatheredValue, list[tuple[int, GatheredValue]]]] = {}
        inside: list[tuple[int, GatheredValue]] = []
        for row in rows:
            if row[0] == depth:
                inside = found.setdefault(same_name(row[1].name), (row[1], []))[1]
            else:
                inside.append(row)
        return tuple(
            Value(value.name, value.meaning, tree(inside, depth + 1))
            for value, inside in found.values()
            if same_name(value.name) != OTHER  # what no value fits needs none
        )

    return dataclasses.replace(facet, values=tree(rows, 0))


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
