"""Topic seeds: what texts are about, hundreds of thousands of them in as many bytes as the file.

They are the paper's main dial of diversity (section 3.2 of arXiv 2410.15226): a path of up to five
levels from a field of knowledge down to the topic, and a few keywords.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from synthdiv.errors import UserError
from synthdiv.generation.chance import Chance
from synthdiv.json_lines import as_lines, encodable, json_lines, open_bytes

if TYPE_CHECKING:
    import pyarrow as pa

# Before a level, the keywords, and each but the first; in this order, what lies under a topic sorts
# next to it.
_LEVEL, _WORDS, _WORD = "\x1d", "\x1e", "\x1f"
_SLASH = "/"
_BLOCK = 1 << 22  # bytes of a file that are parsed at once
_AT_ONCE = 1 << 14  # rows


class Topic(NamedTuple):
    """A topic: `path` from the broadest level to the topic itself, and its `keywords`."""

    path: tuple[str, ...]
    keywords: tuple[str, ...]

    @property
    def key(self) -> str:
        """The path in one string, levels joined by "/"."""
        return _SLASH.join(self.path)


def topic_lines(topics: Iterable[tuple[Topic, Sequence[str]]]) -> str:
    """Topics, each with what it was taken from, as the JSON lines that `read_topics` reads."""
    rows: list[dict[str, Sequence[str]]] = []
    for topic, sources in topics:
        rows.append({"path": topic.path, "keywords": topic.keywords})
        if sources:
            rows[-1]["sources"] = sources
    return as_lines(rows)


class Topics(Sequence[Topic]):
    """Topics, kept as text; each is made when it is asked for.

    Args:
        rows: of each topic its levels and keywords in one string; see `read_topics`, `of`.
        order: which of them these are, in which order; None for all.
    """

    def __init__(self, rows: pa.LargeStringArray, order: np.ndarray | None = None) -> None:
        self._rows = rows
        chosen = np.arange(len(rows)) if order is None else order
        self._order = np.ascontiguousarray(chosen, np.int64).data
        _, ends, text = rows.buffers()
        self._ends = np.frombuffer(ends, np.int64)[rows.offset :].data
        self._text = memoryview(text or b"")

    @classmethod
    def of(cls, topics: Iterable[Topic]) -> Topics:
        """Keeps topics; takes them for granted."""
        import pyarrow as pa

        rows = [_WORDS.join((_LEVEL.join(t.path), _WORD.join(t.keywords))) for t in topics]
        return cls(pa.array(rows, pa.large_string()))

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Topic: ...
    @overload
    def __getitem__(self, index: slice) -> list[Topic]: ...
    def __getitem__(self, index: int | slice) -> Topic | list[Topic]:
        if isinstance(index, slice):
            return self.among(range(*index.indices(len(self))))
        return self.among((index,))[0]

    def among(self, places: Iterable[int]) -> list[Topic]:
        """The topics at some places; takes less time than one by one."""
        order, ends, text = self._order, self._ends, self._text
        found = []
        for place in places:
            at = order[place]
            path, _, words = str(text[ends[at] : ends[at + 1]], "utf-8").partition(_WORDS)
            keywords = tuple(words.split(_WORD)) if words else ()
            found.append(Topic(tuple(path.split(_LEVEL)), keywords))
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def key(self, place: int) -> str:
        """The key of the topic at a place."""
        return self._row(place).partition(_WORDS)[0].replace(_LEVEL, _SLASH)

    @property
    def sha256(self) -> str:
        """A hash of all topics and their keywords, whatever their order."""
        ordered = self._hashes[np.argsort(self._hashes["path"])]
        return hashlib.sha256(ordered.tobytes()).hexdigest()

    @property
    def repeated(self) -> bool:
        """Whether a path is there twice."""
        paths = np.sort(self._hashes["path"])
        return bool((paths[1:] == paths[:-1]).any())

    def chosen(self, number: int, seed: int) -> Topics:
        """A seeded choice; see `choose_topics`."""
        salt = np.frombuffer(hashlib.blake2b(str(seed).encode(), digest_size=16).digest(), "<u8")
        # Multiplied, shifted and multiplied again, close numbers fall far apart.
        drawn = (self._hashes["path"] ^ salt[0]) * (salt[1] | np.uint64(1))
        drawn = (drawn ^ (drawn >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
        return self.at(np.argsort(drawn, kind="stable")[:number])

    def at(self, places: np.ndarray) -> Topics:
        """The topics at some places, which keep their rows."""
        return Topics(self._rows, np.asarray(self._order)[places])

    def row(self, place: int) -> int:
        """Which of the topics that were read the one at a place is, whatever was chosen of them."""
        return self._order[place]

    @functools.cached_property
    def _hashes(self) -> np.ndarray:
        """Of each topic, hashes of its path and of its keywords."""
        hashes = np.empty(len(self), [("path", "<u8"), ("words", "<u8")])
        hash_of = functools.partial(hashlib.blake2b, digest_size=8)
        for start, rows in self._blocks(np.asarray(self._order)):
            parts = [
                row.replace(_LEVEL.encode(), _SLASH.encode()).partition(_WORDS.encode())
                for row in rows
            ]
            for name, place in (("path", 0), ("words", 2)):
                digests = b"".join([hash_of(part[place]).digest() for part in parts])
                hashes[name][start : start + len(rows)] = np.frombuffer(digests, "<u8")
        return hashes

    def _blocks(self, order: np.ndarray) -> Iterator[tuple[int, list[bytes]]]:
        """Rows in some order, many at once, and how many came before."""
        import pyarrow as pa

        rows = self._rows.cast(pa.large_binary())
        for start in range(0, len(order), _AT_ONCE):
            yield start, rows.take(pa.array(order[start : start + _AT_ONCE])).to_pylist()

    def sorted(self) -> np.ndarray:
        """Places in an order in which everything under a level stands together."""
        import pyarrow as pa
        import pyarrow.compute as pc

        order = pa.array(np.asarray(self._order))
        return pc.sort_indices(self._rows.take(order)).to_numpy().astype(np.int32)

    def paths(self, places: np.ndarray) -> Iterator[list[bytes]]:
        """The paths of the topics at many places, undecoded."""
        for _, rows in self._blocks(np.asarray(self._order)[places]):
            for row in rows:
                yield row.partition(_WORDS.encode())[0].split(_LEVEL.encode())

    def _row(self, place: int) -> str:
        at = self._order[place]
        return str(self._text[self._ends[at] : self._ends[at + 1]], "utf-8")


def read_topics(path: str | Path) -> Topics:
    """Reads topic seeds, one `{"path": [...], "keywords": [...]}` a line.

    Raises:
        UserError: the file is missing or empty, a line is no topic, or a topic stands there twice.
    """
    rows = _rows_at_once(path)
    topics = None if rows is None else Topics(rows)
    if not topics or topics.repeated:
        return Topics.of(_checked(path))  # line by line, so that a fault has its line
    return topics


def choose_topics(topics: Sequence[Topic], number: int, seed: int) -> Topics:
    """A seeded choice of `number` topics, nested: the first 16 of 48 are the choice of 16.

    It depends on the topics' paths and not on their order in the file.

    Raises:
        UserError: there are fewer topics than that.
    """
    if number > len(topics):
        raise UserError(f"{number} topics wanted, and there are {len(topics)}")
    return (topics if isinstance(topics, Topics) else Topics.of(topics)).chosen(number, seed)


class Tree:
    """Finds topics that are near to one another: under one field, part or subject.

    Args:
        topics: whose places are meant by all numbers here.
        number: of topics that are drawn at once, fewer than there are.
    """

    def __init__(self, topics: Topics, number: int) -> None:
        self._number = number
        order = topics.sorted()
        depths = np.empty(len(order), np.int32)
        shared = np.empty(len(order), np.int32)  # levels, with the topic before
        before: list[bytes] = []
        for rank, path in enumerate(topics.paths(order)):
            same = 0
            for one, other in zip(path, before, strict=False):
                if one != other:
                    break
                same += 1
            depths[rank], shared[rank], before = len(path), same, path
        low, high = np.zeros_like(order), np.full_like(order, len(order))
        found = depths <= 1  # nothing but all topics is around a field
        for depth in range(int(depths.max()) - 1, 0, -1):
            begins = np.flatnonzero(shared < depth)
            branch = np.cumsum(shared < depth) - 1
            ends = np.append(begins[1:], len(order))
            fits = ~found & (depths > depth) & ((ends - begins)[branch] > number)
            low[fits], high[fits] = begins[branch[fits]], ends[branch[fits]]
            found |= fits
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        self._order, self._rank = order.data, ranks.data
        self._low, self._high = low.data, high.data

    def near(self, place: int, chance: Chance) -> list[int]:
        """Draws topics out of the smallest branch around a topic that has so many others."""
        own = self._rank[place]
        return self._drawn(own, self._low[own], self._high[own], chance)

    def anywhere(self, place: int, chance: Chance) -> list[int]:
        """Draws topics other than the one at `place` out of all."""
        return self._drawn(self._rank[place], 0, len(self._order), chance)

    def _drawn(self, own: int, low: int, high: int, chance: Chance) -> list[int]:
        drawn = (low + one for one in chance.sample(high - low - 1, self._number))
        return [self._order[rank + (rank >= own)] for rank in drawn]


def _rows_at_once(path: str | Path) -> pa.LargeStringArray | None:
    """The rows of a whole file; None where there is anything in it that `_checked` has to see."""
    import pyarrow as pa
    from pyarrow import json

    texts = pa.list_(pa.string())
    schema = pa.schema([("path", texts), ("keywords", texts)])
    parsing = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    parts = []
    try:
        with open_bytes(path) as file:
            while block := file.read(_BLOCK):
                block += file.readline()
                if not block.isspace():
                    whole = json.ReadOptions(block_size=len(block) + 1)
                    table = json.read_json(pa.BufferReader(block), whole, parsing)
                    parts += [_rows_of(batch) for batch in table.to_batches()]
    except (OSError, EOFError, ValueError):  # pyarrow's faults are of these
        return None
    return pa.concat_arrays(parts) if parts and None not in parts else None


def _rows_of(batch: pa.RecordBatch) -> pa.LargeStringArray | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    levels, words = batch.column(0), batch.column(1)
    if levels.null_count or not _plain(levels, _SLASH) or not _plain(words):
        return None
    if pc.min(pc.list_value_length(levels)).as_py() < 1:
        return None
    names = pc.utf8_trim_whitespace(levels.flatten())
    offsets = pc.subtract(levels.offsets, levels.offsets[0])
    path_of = pc.binary_join(pa.ListArray.from_arrays(offsets, names), _LEVEL)
    words_of = pc.fill_null(pc.binary_join(words, _WORD), "")
    return pc.binary_join_element_wise(path_of, words_of, _WORDS).cast(pa.large_string())


def _plain(lists: Any, *kept_apart: str) -> bool:
    """Whether all texts of a list array are texts, and none holds what tells rows apart."""
    import pyarrow.compute as pc

    values = lists.flatten()
    if values.null_count:
        return False
    text = b"" if values.buffers()[2] is None else values.buffers()[2].to_pybytes()
    if any(separator.encode() in text for separator in (_LEVEL, _WORDS, _WORD, *kept_apart)):
        return False
    shortest = pc.min(pc.binary_length(pc.utf8_trim_whitespace(values))).as_py()
    return shortest is None or shortest > 0


def _checked(path: str | Path) -> Iterator[Topic]:
    """The topics of a file, line by line."""
    keys = set()
    for number, row in json_lines(path):
        row = encodable(row)
        levels, keywords = row.get("path"), row.get("keywords", [])
        keywords = [] if keywords is None else keywords
        if not _texts(levels) or not levels or not _texts(keywords):
            form = "{'path': [texts], 'keywords': [texts]}"
            raise UserError(f"{path} line {number}: a topic is {form}")
        topic = Topic(tuple(level.strip() for level in levels), tuple(keywords))
        if any(_SLASH in level for level in topic.path):
            raise UserError(f"{path} line {number}: a level of a path must not hold a slash")
        if any(c in text for text in (*topic.path, *keywords) for c in (_LEVEL, _WORDS, _WORD)):
            raise UserError(f"{path} line {number}: a topic must not hold control characters")
        if topic.key in keys:
            raise UserError(f"{path} line {number}: topic {topic.key!r} is there twice")
        keys.add(topic.key)
        yield topic
    if not keys:
        raise UserError(f"{path} is empty")


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
