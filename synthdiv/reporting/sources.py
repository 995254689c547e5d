"""Where documents come from: their provenance, counted and held against the groups they are in."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from synthdiv.files import Document

TOLD = ("topic", "style", "persona", "template", "model", "label", "source")  # shown first
LONGEST_TOLD, _LONGEST_OTHER = 200, 60  # characters of a value that is counted
_COLUMNS, _ROWS, _LARGEST = 8, 12, 3  # tables, rows of one, groups named in a row
_NAME = 120  # characters by which names are told apart, and shown
_FEW = 10  # fewer places tell nothing of how varied a value is

Pair = tuple[str, str]


def same_words(text: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(text[:_NAME].casefold().split())


def beginning(text: str, characters: int = _NAME) -> str:
    """The first characters of a text, marked where it goes on."""
    return text if len(text) <= characters else text[:characters] + " \u2026"


def told(document: Document) -> set[Pair]:
    """(column, value) pairs of a document's provenance: short ones, and each of a list."""
    found = set()
    for column, value in document.provenance.items():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one is None or isinstance(one, (dict, list)):
                continue
            words = str(one)
            if words and len(words) <= (LONGEST_TOLD if column in TOLD else _LONGEST_OTHER):
                found.add((column, words))
    return found


def constant(members: Iterable[set[Pair]]) -> dict[str, str]:
    """The columns in which all documents have the same one value; none of fewer than two."""
    values: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    total = 0
    for pairs in members:
        total += 1
        for column, value in pairs:
            values[column].add(value)
            counts[column] += 1
    return {
        column: next(iter(found))
        for column, found in values.items()
        if total > 1 and len(found) == 1 and counts[column] == total
    }


@dataclasses.dataclass(frozen=True)
class SourceRow:
    """A value of a provenance column.

    Attributes:
        value: such as "blog post".
        documents: how many different ones were read.
        share: of all documents that were read.
        groups: the largest groups of its documents, as (number, share).
        effective_groups: 1 / P(two of its documents are in one group); None where too few were read
            or no two are.
    """

    value: str
    documents: int
    share: float
    groups: tuple[tuple[int, float], ...]
    effective_groups: float | None


@dataclasses.dataclass(frozen=True)
class SourceTable:
    """A provenance column: its commonest values, and how many more there are."""

    column: str
    rows: tuple[SourceRow, ...]
    more: int


def source_tables(
    documents: Mapping[int, Document], memberships: Mapping[int, Sequence[int]]
) -> list[SourceTable]:
    """Tables of those columns that tell documents apart.

    A column with a value of its own for nearly every document (a title, an address) is left out.

    Args:
        documents: that were read, by index.
        memberships: of each document, the number of its group in every round it was in; negative
            for one that no list names.
    """
    by_column: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, document in documents.items():
        for column, value in told(document):
            by_column[column][value].append(index)
    order = {column: place for place, column in enumerate(TOLD)}
    tables = []
    for column in sorted(by_column, key=lambda column: (order.get(column, len(order)), column)):
        values = by_column[column]
        if not 2 <= len(values) <= max(len(documents) / 2, 2):
            continue
        ranked = sorted(values.items(), key=lambda one: (-len(one[1]), one[0]))
        rows = tuple(
            _row(value, indices, len(documents), memberships) for value, indices in ranked[:_ROWS]
        )
        tables.append(SourceTable(column, rows, len(values) - len(rows)))
    return tables[:_COLUMNS]


def _row(
    value: str, indices: Sequence[int], total: int, memberships: Mapping[int, Sequence[int]]
) -> SourceRow:
    counts = Counter(group for index in indices for group in memberships.get(index, ()))
    places = counts.total()
    same = sum(n * (n - 1) for n in counts.values())
    effective = places * (places - 1) / same if same and places >= _FEW else None
    known = [(group, n / places) for group, n in counts.most_common() if group >= 0]
    return SourceRow(
        value, len(indices), len(indices) / max(total, 1), tuple(known[:_LARGEST]), effective
    )
