"""From texts to 64-bit word hashes, without a Python object a word.

Every lexical baseline counts equal words or equal runs of words. Here a batch of documents becomes
one buffer of UTF-8 bytes, and a single running sum over it gives the hash of every word: byte j
adds table[byte] * r**j (mod 2**64), so a word from s to e hashes to (sum[e] - sum[s]) / r**s,
wherever it stands. r is odd and so has an inverse. A finalizer then spreads the bits.

Two readings of the same bytes, because the baselines' sources differ:
- `words`: what `str.split()` gives (any Unicode white space separates, no empty word);
- `pieces`: what `" ".join(documents).split(" ")` gives (only the space separates, empty pieces
  count, and documents run into each other).
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

BATCH_DOCUMENTS = 4096  # a document's place in its batch fits into 12 bits
BATCH_CHARACTERS = 1 << 21
BLOCK_BYTES = 1 << 18  # the running sums of one block stay in the second-level cache

_RADIX = 0x9E3779B97F4A7C15  # odd
_RADIX_INVERSE = pow(_RADIX, -1, 1 << 64)
_BYTE_VALUES = np.random.Generator(np.random.PCG64(1)).integers(
    1, 1 << 64, 256, dtype=np.uint64, endpoint=False
)
_NGRAM_FACTORS = np.random.Generator(np.random.PCG64(2)).integers(
    1, 1 << 64, 64, dtype=np.uint64
) | np.uint64(1)
_ASCII_SPACES = b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f "
# Bytes that UTF-8 never uses stand in for the white space beyond ASCII, one code for each, so that
# a piece with a no-break space in it stays different from a piece with a line break there.
_UNUSED = tuple(range(0xF5, 0x100))
_IS_SPACE = np.zeros(256, bool)
_IS_SPACE[list(_ASCII_SPACES) + list(_UNUSED)] = True
_WIDE_SPACES = [
    chr(point).encode()
    for point in [0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 12288]
]
_IS_WIDE_LEAD = np.zeros(256, bool)
_IS_WIDE_LEAD[[coded[0] for coded in _WIDE_SPACES]] = True

_powers = np.ones(1, np.uint64)
_inverse_powers = np.ones(1, np.uint64)


def mix(values: np.ndarray) -> np.ndarray:
    """Spreads the bits of uint64 values (the finalizer of splitmix64): a bijection."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def distinct_sorted(values: np.ndarray) -> np.ndarray:
    """Returns the distinct values of an array in rising order, by sorting it in place."""
    values.sort()
    if len(values) < 2:
        return values
    keep = np.empty(len(values), bool)
    keep[0] = True
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return values[keep]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Hashed words of consecutive documents.

    Attributes:
        first: index of the first document.
        text: the documents joined by one space, UTF-8.
        words: uint64 [words], hashes in reading order.
        lengths: int64 [documents], words in each document.
        pieces: uint64 [pieces], hashes of the pieces between single spaces.
    """

    first: int
    text: bytes
    words: np.ndarray
    lengths: np.ndarray
    pieces: np.ndarray

    def documents_of(self, order: int) -> np.ndarray:
        """Returns for every n-gram of `order` words inside one document that document's place."""
        counts = np.maximum(self.lengths - (order - 1), 0)
        return np.repeat(np.arange(len(counts)), counts)

    def ngrams(self, order: int) -> np.ndarray:
        """Returns the hashes of the n-grams of words that lie inside one document."""
        return ngram_hashes(self.words, order)[self._inside(order)]

    def _inside(self, order: int) -> np.ndarray:
        """True where an n-gram that starts at this word ends in the same document."""
        inside = np.ones(max(len(self.words) - order + 1, 0), bool)
        ends = np.cumsum(self.lengths)[:-1]
        for back in range(1, order):
            places = ends - back
            inside[places[(places >= 0) & (places < len(inside))]] = False
        return inside


def ngram_hashes(hashes: np.ndarray, order: int) -> np.ndarray:
    """Returns uint64 [len(hashes) - order + 1]: the hash of every run of `order` words."""
    count = max(len(hashes) - order + 1, 0)
    if order == 1:
        return hashes[:count].copy()
    total = np.zeros(count, np.uint64)
    for place in range(order):
        total += hashes[place : place + count] * _NGRAM_FACTORS[place]
    return mix(total)


def batches(texts: Iterable[str], first: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Cuts a stream of texts into (index of the first, texts) small enough to hash at once."""
    held: list[str] = []
    characters = 0
    for text in texts:
        held.append(text)
        characters += len(text)
        if len(held) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield first, held
            first += len(held)
            held, characters = [], 0
    if held:
        yield first, held


def hash_batch(first: int, texts: Sequence[str]) -> Batch:
    """Hashes the words of at most BATCH_DOCUMENTS documents.

    Args:
        first: index of the first document.
        texts: the documents.
    """
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    joined = b" ".join(encoded)
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    buffer = np.frombuffer(joined, np.uint8)
    if not joined.isascii():
        buffer = _mark_wide_spaces(buffer.copy())
    words, starts, pieces = [], [], []
    for begin, end in _blocks(buffer):
        block_words, block_starts, block_pieces = _hash_block(buffer[begin:end])
        words.append(block_words)
        starts.append(block_starts + begin)
        pieces.append(block_pieces)
    beginnings = np.concatenate(([0], np.cumsum(sizes + 1)))
    places = np.searchsorted(np.concatenate(starts), beginnings)
    return Batch(first, joined, np.concatenate(words), np.diff(places), np.concatenate(pieces))


def _blocks(buffer: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cuts a buffer at spaces into blocks of about BLOCK_BYTES; the space itself is left out."""
    begin = 0
    while True:
        end = len(buffer)
        if end - begin > BLOCK_BYTES:
            window = np.flatnonzero(buffer[begin : begin + BLOCK_BYTES] == 0x20)
            if len(window):
                end = begin + int(window[-1])
            else:  # one word longer than a block: go on to where it ends
                step = begin + BLOCK_BYTES
                while step < len(buffer):
                    window = np.flatnonzero(buffer[step : step + BLOCK_BYTES] == 0x20)
                    if len(window):
                        end = step + int(window[0])
                        break
                    step += BLOCK_BYTES
        yield begin, end
        begin = end + 1
        if end == len(buffer):
            return


def _hash_block(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns hashes of the words, where they start, and hashes of the pieces of one block."""
    powers, inverse = _power_tables(len(block) + 1)
    sums = np.zeros(len(block) + 1, np.uint64)
    values = _BYTE_VALUES[block]
    values *= powers[: len(block)]
    np.cumsum(values, out=sums[1:])

    def between(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return mix((sums[ends] - sums[starts]) * inverse[starts])

    edges = np.ones(len(block) + 2, bool)
    edges[1:-1] = _IS_SPACE[block]
    changes = np.flatnonzero(edges[1:] != edges[:-1])
    starts, ends = changes[::2], changes[1::2]
    spaces = np.flatnonzero(block == 0x20)
    piece_starts = np.concatenate(([0], spaces + 1))
    piece_ends = np.concatenate((spaces, [len(block)]))
    return between(starts, ends), starts, between(piece_starts, piece_ends)


def _power_tables(length: int) -> tuple[np.ndarray, np.ndarray]:
    global _powers, _inverse_powers
    if len(_powers) < length or len(_inverse_powers) < length:
        size = max(length, BLOCK_BYTES + 1)
        powers = np.full(size, _RADIX, np.uint64)
        inverse = np.full(size, _RADIX_INVERSE, np.uint64)
        powers[0] = inverse[0] = 1
        # Whole tables are put in place at once: another thread sees the old or the new ones.
        _powers = np.multiply.accumulate(powers)
        _inverse_powers = np.multiply.accumulate(inverse)
        return _powers, _inverse_powers
    return _powers, _inverse_powers


def _mark_wide_spaces(buffer: np.ndarray) -> np.ndarray:
    """Rewrites white space beyond ASCII, in place, to bytes that UTF-8 does not use."""
    leads = np.flatnonzero(_IS_WIDE_LEAD[buffer])
    for number, coded in enumerate(_WIDE_SPACES):
        places = leads[leads <= len(buffer) - len(coded)]
        for offset, byte in enumerate(coded):
            places = places[buffer[places + offset] == byte]
        if len(coded) == 2:
            marks: tuple[int, ...] = (_UNUSED[-1], _UNUSED[number])
        else:
            marks = (_UNUSED[-2], _UNUSED[number // 8], _UNUSED[number % 8])
        for offset, mark in enumerate(marks):
            buffer[places + offset] = mark
    return buffer
