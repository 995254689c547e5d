"""Packs sequences to be scored into rows of a few fixed lengths, each shared prefix read once.

The options of a question repeat the question, and a few-shot prompt repeats its examples with every
question. Sequences are sorted, so that neighbours share their beginnings, and laid out as the
preorder of their prefix tree: a token that several sequences share appears in the row once. In
preorder the tokens below a token directly follow it, up to its `end`; so one number per token
says all there is to say about which token sees which:

    query q sees key k  if and only if  k <= q < end[k]

which covers causality, the tree, the other trees of the row, and padding (whose end is 0).
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np

_WORTH_SHARING = 8  # two sequences with a shorter common beginning than this need not share a row


@dataclasses.dataclass(frozen=True)
class Continuation:
    """A sequence to read, whose last positions predict a continuation.

    `inputs` is context + continuation without its last token, int32; `targets` is the continuation.
    """

    inputs: np.ndarray
    targets: np.ndarray


@dataclasses.dataclass
class Row:
    """Prefix trees laid out one after another; all arrays int32.

    Attributes:
        tokens, positions, ends: of every place in the row; position is the depth in its tree.
        owners: which sequences are in the row.
        scored: for each owner, the places that predict its continuation.
    """

    tokens: np.ndarray
    positions: np.ndarray
    ends: np.ndarray
    owners: list[int]
    scored: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.tokens)


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Returns the length of the common prefix of two sequences."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    return int(differ.argmax()) if differ.any() else n


def _tree(sequences: Sequence[Continuation], owners: Sequence[int], shared: Sequence[int]) -> Row:
    """Lays out sorted sequences; sequence i shares its first `shared[i]` tokens with i - 1."""
    tokens, positions, scored = [], [], []
    ends = np.empty(sum(len(sequences[o].inputs) for o in owners), np.int32)
    path = np.empty(0, np.int32)
    length = 0
    for owner, keep in zip(owners, shared, strict=True):
        inputs = sequences[owner].inputs
        ends[path[keep:]] = length  # nothing else follows below these
        new = np.arange(length, length + len(inputs) - keep, dtype=np.int32)
        path = np.concatenate([path[:keep], new])
        tokens.append(inputs[keep:])
        positions.append(np.arange(keep, len(inputs), dtype=np.int32))
        scored.append(path[len(path) - len(sequences[owner].targets) :])
        length += len(new)
    ends[path] = length
    return Row(
        np.concatenate(tokens), np.concatenate(positions), ends[:length], list(owners), scored
    )


def _trees(sequences: Sequence[Continuation], lengths: Sequence[int]) -> list[tuple[int, Row]]:
    """Groups the sorted sequences into trees; returns (row length, tree) of each."""
    # Big-endian bytes sort like the lists of tokens, shorter ones first.
    keys = [s.inputs.astype(">u4").tobytes() for s in sequences]
    order = sorted(range(len(sequences)), key=keys.__getitem__)
    trees: list[tuple[int, Row]] = []
    owners: list[int] = []
    shared: list[int] = []
    total = room = 0

    def close() -> None:
        if owners:
            trees.append((_fit(total, lengths), _tree(sequences, owners, shared)))

    for index, owner in enumerate(order):
        inputs = sequences[owner].inputs
        common = common_prefix(inputs, sequences[order[index - 1]].inputs) if owners else 0
        grown = total + len(inputs) - common
        wider = max(room, _room(len(inputs), lengths))
        if owners and common >= min(_WORTH_SHARING, len(inputs)) and grown <= wider:
            owners.append(owner)
            shared.append(common)
            total, room = grown, wider
        else:
            close()
            owners, shared = [owner], [0]
            total, room = len(inputs), _room(len(inputs), lengths)
    close()
    return trees


def _fit(length: int, lengths: Sequence[int]) -> int:
    return lengths[bisect.bisect_left(lengths, length)]


def _room(longest: int, lengths: Sequence[int]) -> int:
    """How long a tree may grow: to twice its longest sequence, within the longest row."""
    return _fit(min(2 * longest, lengths[-1]), lengths)


def pack(sequences: Sequence[Continuation], lengths: Sequence[int]) -> dict[int, list[Row]]:
    """Packs sequences into rows.

    Args:
        sequences: none longer than the last of `lengths`.
        lengths: the lengths that rows may have, ascending.

    Returns:
        Rows by length; the same for the same sequences in the same order.
    """
    bins: dict[int, list[list[Row]]] = {length: [] for length in lengths}
    room: dict[int, list[tuple[int, int]]] = {length: [] for length in lengths}  # sorted
    for length, tree in sorted(_trees(sequences, lengths), key=lambda t: -len(t[1])):
        free = room[length]
        place = bisect.bisect_left(free, (len(tree), -1))
        if place == len(free):  # no row has room
            bins[length].append([])
            left, row = length, len(bins[length]) - 1
        else:
            left, row = free.pop(place)
        bins[length][row].append(tree)
        bisect.insort(free, (left - len(tree), row))
    return {length: [_join(trees) for trees in rows] for length, rows in bins.items() if rows}


def _join(trees: list[Row]) -> Row:
    starts = np.cumsum([0] + [len(tree) for tree in trees[:-1]], dtype=np.int32)
    pairs = list(zip(trees, starts, strict=True))
    return Row(
        np.concatenate([tree.tokens for tree in trees]),
        np.concatenate([tree.positions for tree in trees]),
        np.concatenate([tree.ends + start for tree, start in pairs]),
        [owner for tree in trees for owner in tree.owners],
        [places + start for tree, start in pairs for places in tree.scored],
    )
