"""What was found, in sentences that a reader can repeat: of one corpus, and of several compared.

Every sentence is computed, and says by which rule where a word such as "narrow" is a judgement.
"""

import dataclasses
import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from synthdiv.reporting.score_files import ScoreFiles
from synthdiv.reporting.values import FacetValues, facet_values, known_values

LACKING = 0.25  # share of documents without a value from which that is the first thing to say
NARROW, WIDE = 3.0, 8.0  # effective values below and from which a facet is called so
ALIKE, DIFFERENT = 0.3, 0.7  # pairs that differ: shares below and from which a criterion is
_NEARLY_ALL, _HALF, _TELLING = 0.9, 0.5, 0.25
_RIGHT_TO_LEFT = ("R", "AL", "RLE", "RLO", "RLI", "LRO")
_NAMED = 4  # of a list that a sentence names
_MOST_OF_REST = 0.5  # share of what is left from which one value is most of it


@dataclasses.dataclass(frozen=True)
class OneCodebook:
    """What one of several codebooks that name values differently says.

    Attributes:
        number: of the codebook, from 1.
        documents: that were sorted by it.
        facets: their values.
    """

    number: int
    documents: int
    facets: Sequence[FacetValues]


class Called(Protocol):
    """Something with a name."""

    @property
    def name(self) -> str: ...


class Named(Called, Protocol):
    """A group as sentences need it: what it is called, and its share of what was read."""

    @property
    def share(self) -> float: ...


def rule_of_words(by_values: bool) -> str:
    """Says when a facet is called narrow and when wide."""
    if by_values:
        return (
            f"Narrow: as varied as fewer than {NARROW:g} equally common values would be; "
            f"wide: as {WIDE:g} or more."
        )
    return (
        f"Mostly alike: under {whole(ALIKE)} of pairs of documents differ; mostly "
        f"different: {whole(DIFFERENT)} or more."
    )


def found(
    score: Mapping[str, Any],
    facets: Sequence[FacetValues],
    groups: Sequence[Named],
    one: OneCodebook | None = None,
) -> list[str]:
    """What a corpus is made of, most telling first.

    Args:
        score: the content of score.json.
        facets: its values, where documents got some.
        groups: its groups, largest first.
        one: the codebook whose shares are told, where there are several: a value that one of them
            knows would have but a part of its share among what was read under all.
    """
    if facets:
        facet, depth = _headline(score, facets)
        books = len(score.get("codebooks") or ())
        without = _without(score, facet, depth)
        told, _ = _headline(score, one.facets if one else facets)
        made = _made_of(told.at(depth), plural(facet.levels[depth]))
        if one:
            by = f"By codebook {one.number} of {books}, under which {one.documents:,} documents"
            made = f"{by} were read: {made[0].lower()}{made[1:]}"
        said = [without, made, in_a_round(score)]
        said += _widths(score, facets, facet.name, one)
        said += _missing(facet, depth, books, bool(without))
    else:
        said = [_made_of(groups, "groups")] if groups else []
        said.append(in_a_round(score))
        said += _criteria(score.get("facets") or ())
    return [sentence for sentence in said if sentence]


def one_codebook(files: ScoreFiles) -> OneCodebook | None:
    """Of codebooks that name values differently, the first of those that most was read under."""
    codebooks = files.score.get("codebooks") or ()
    rows = files.by_codebook
    names = [
        [{path for path, _ in known_values(facet)} for facet in codebooks[book]["facets"]]
        for book in rows
    ]
    if all(one == names[0] for one in names):
        return None
    read = {book: len({row["index"] for row in found}) for book, found in rows.items()}
    book = max(read, key=read.__getitem__)
    facets = facet_values([codebooks[book]], rows[book])
    return OneCodebook(book + 1, read[book], facets)


def what_was_read(score: Mapping[str, Any]) -> str:
    """How much of the corpus was judged, and by whom: what every sentence rests on."""
    corpus, judge = score.get("corpus") or {}, score.get("judge") or {}
    if not corpus.get("documents") or not corpus.get("shown"):
        return ""
    who = f"the judge {quoted(str(judge['model']))}" if judge.get("model") else "the judge"
    if judge.get("backend") == "offline":
        who = "the offline stand-in for a judge"
    words = f"{corpus['shown']:,} of its {corpus['documents']:,} documents were read by {who}"
    rounds = score.get("rounds") or {}
    if rounds.get("completed") and rounds.get("documents_per_round"):
        words += f", in {rounds['completed']:,} rounds of {rounds['documents_per_round']}"
    if corpus.get("truncated"):
        words += f"; {corpus['truncated']:,} of them were cut to their beginning"
    return words + "."


def in_a_round(score: Mapping[str, Any]) -> str:
    """The score in terms of what is in a round; "" where nothing tells."""
    size = (score.get("rounds") or {}).get("documents_per_round")
    clusters = (score.get("clusters") or {}).get("mean")
    if not size or clusters is None:
        return ""
    what = "fall into {:.1f} groups"
    if score.get("codebooks"):
        level = str((score.get("config") or {}).get("level", "")).partition(".")[2]
        what = "are of {:.1f} different " + plural(level)
    return f"On average, {size} documents drawn at random {what.format(clusters)}."


def _headline(score: Mapping[str, Any], facets: Sequence[FacetValues]) -> tuple[FacetValues, int]:
    name, _, level = str(score.get("config", {}).get("level", "")).partition(".")
    for facet in facets:
        if facet.name == name and level in facet.levels:
            return facet, facet.levels.index(level)
    return facets[0], 0


def _without(score: Mapping[str, Any], facet: FacetValues, depth: int) -> str:
    """That many documents have no value at the headline's level, where they have none."""
    level = facet.levels[depth]
    for one in score.get("levels") or ():
        if (one["facet"], one["level"]) == (facet.name, level) and one.get("other", 0) > LACKING:
            return (
                f"{whole(one['other'])} of what was read has no value among the {plural(level)} "
                "that are known, so values tell little of this corpus."
            )
    return ""


def _made_of(groups: Sequence[Named], what: str) -> str:
    """Which groups hold half of what was read."""
    first = groups[0]
    if first.share >= _NEARLY_ALL:
        return f"Nearly all of what was read ({whole(first.share)}) is {quoted_name(first)}."
    if first.share >= _HALF:
        others = _listed(groups[1:3])
        words = f"More than half of what was read ({whole(first.share)}) is {quoted_name(first)}"
        return f"{words}; next come {others}." if others else f"{words}."
    held = list(itertools.accumulate(group.share for group in groups))
    needed = next((n for n, share in enumerate(held, 1) if share >= _HALF), None)
    if needed is None:
        return (
            f"The {len(groups)} largest {what} hold {whole(held[-1])} of what was read: "
            f"no few of them make it up. The largest are {_listed(groups[:_NAMED])}."
        )
    if needed <= _NAMED:
        words = f"{whole(held[needed - 1])} of what was read is {_listed(groups[:needed])}"
        return f"{words}{_rest(groups[needed:], 1 - held[needed - 1])}."
    return (
        f"It takes the {needed} largest {what} to make up half of what was read; "
        f"first come {_listed(groups[:_NAMED])}."
    )


def _rest(groups: Sequence[Named], left: float) -> str:
    """What comes after the groups that hold half."""
    if not groups:
        return ""
    if groups[0].share >= _MOST_OF_REST * left:
        return f"; most of the rest is {_listed(groups[:1])}"
    return f"; next come {_listed(groups[:2])}" if groups[1:] else ""


def _widths(
    score: Mapping[str, Any],
    facets: Sequence[FacetValues],
    headline: str,
    one_book: OneCodebook | None,
) -> list[str]:
    """One sentence a facet, at the headline's level of its own and the finest of the others."""
    by = f" by codebook {one_book.number}" if one_book else ""
    told = {facet.name: facet for facet in one_book.facets} if one_book else {}
    known = {(one["facet"], one["level"]): one for one in score.get("levels") or ()}
    said = []
    for facet in facets:
        depth = len(facet.levels) - 1
        if facet.name == headline:
            depth = _headline(score, facets)[1]
        one = known.get((facet.name, facet.levels[depth]))
        if one is None:
            continue
        effective, largest = one["effective_values"], told.get(facet.name, facet).at(depth)[0]
        words = f"{facet.name.capitalize()} is {_width(effective)}: "
        most = f"{whole(largest.share)} is {quoted_name(largest)}{by}"
        if effective is None:
            words += "no two documents have the same value"
        elif largest.share >= _NEARLY_ALL:
            words += most
        else:
            words += f"as varied as {effective:.1f} equally common {plural(facet.levels[depth])}"
            if facet.name != headline and largest.share >= _TELLING:
                words += f"; {most}"
        said.append(words + ".")
    return said


def _width(effective: float | None) -> str:
    shown = None if effective is None else round(effective, 1)  # as the sentence says it
    if shown is None or shown >= WIDE:
        return "wide"
    return "narrow" if shown < NARROW else "neither narrow nor wide"


def headline_level(score: Mapping[str, Any]) -> str:
    """The level that a score or a comparison is taken at, as "facet.level"; "" without levels."""
    return str(score.get("level") or (score.get("config") or {}).get("level") or "")


def whole(share: float) -> str:
    """A share in whole percent, halves up; what is not all is never 100%, nor what is some 0%."""
    percent = math.floor(round(100 * share, 6) + 0.5)
    if 0 < share < 1:
        percent = min(max(percent, 1), 99)
    return f"{percent}%"


def _missing(facet: FacetValues, depth: int, codebooks: int, without: bool) -> list[str]:
    """The broadest values of a facet that no document has, down to the headline's level.

    That none is missing says nothing of a corpus most of which is `without` a value.
    """
    who = "the codebook knows" if codebooks == 1 else f"the {codebooks} codebooks know"
    for level in facet.unread[: depth + 1]:
        if level.missing:
            names = [quoted(name) for name, _ in level.missing]
            return [
                f"Nothing was read in {len(names)} of the {level.known} {plural(level.level)} "
                f"that {who}: {listed_words(names)}."
            ]
    known = [level for level in facet.unread[: depth + 1] if level.known]
    if not known or without:
        return []
    finest = known[-1]
    if finest.known == 1:
        return [f"Something was read in the one {finest.level} that {who}."]
    what = f"{finest.known} {plural(finest.level)}"
    return [f"Something was read in every one of the {what} that {who}."]


def _criteria(facets: Sequence[Mapping[str, Any]]) -> list[str]:
    """In which criteria documents differ and in which they are alike."""
    told = [facet for facet in facets if isinstance(facet.get("different"), (int, float))]
    different = [f for f in told if f["different"] >= DIFFERENT]
    alike = [f for f in told if f["different"] < ALIKE]
    said = []
    if different:
        said.append(f"Two documents mostly differ in {_shares(different)}.")
    if alike:
        said.append(f"They are mostly alike in {_shares(alike)}.")
    return said


def _shares(facets: Sequence[Mapping[str, Any]]) -> str:
    return listed_words([f"{f['name']} ({whole(f['different'])} of pairs differ)" for f in facets])


def quoted_name(one: Called) -> str:
    """A group's name in quotation marks."""
    return quoted(one.name or "no name")


def quoted(name: str) -> str:
    """A name in quotation marks; one that is written from right to left stays in them."""
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in name):
        name = f"\u2068{name}\u2069"
    return f"\u201c{name}\u201d"


def _listed(groups: Sequence[Named]) -> str:
    return listed_words(
        [f"{quoted_name(group)} ({whole(group.share)})" for group in groups], len(groups)
    )


def listed_words(names: Sequence[str], most: int = _NAMED) -> str:
    """A list in words: the first names, and how many more there are."""
    if not names:
        return ""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def plural(noun: str) -> str:
    """The plural of a level's name, as English mostly forms it."""
    if noun.endswith("s"):
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
