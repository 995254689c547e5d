"""One topic, once: what the same subject was called in several places is merged, and told.

Topics are the same
- by path: their paths are equal in normal form;
- by name: their names are equal in normal form, what stands above them does not differ in earnest,
  and they have a keyword in common (or too few to tell);
- by initials or surname: one name is the other's, and two things besides are common to both;
- by keywords: half of all their keywords are common to both (Jaccard), and the words of one name
  are all in the other; three quarters, where what stands above them differs;
- by meaning: the cosine of their embeddings is above a threshold, and their names allow it.

Never merged are names that a number, sign or direction tells apart, a topic with what lies under
it, and two topics of one branch but for the first and third reason: who put them side by side meant
two things.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from synthdiv.generation.naming import SMALL, contains, is_proper, short_for, told_apart, words_of
from synthdiv.generation.topics import Topic
from synthdiv.progress import Progress

TFIDF = "tfidf"
_PERMUTATIONS, _BAND = 64, 2  # MinHash: half the keywords in common are found 9,999 times in 10,000
_GROUP = 64  # of topics with something in common, each is compared with at most so many before it
_FEW = 3  # keywords; fewer tell nothing
_AT_ONCE = 1 << 14  # signatures
_TOLD = 1 << 12  # pairs after which progress is told
_SOURCES = 32  # that are told of one topic


class Found(NamedTuple):
    """A topic and the pages, or whatever it was taken from."""

    topic: Topic
    sources: tuple[str, ...] = ()


class Merger(NamedTuple):
    """What was merged into what, and why; `similarity` is what `by` measures, from 0 to 1."""

    topic: str
    into: str
    by: str
    similarity: float


@dataclass(frozen=True)
class Merging:
    """What counts as the same topic.

    Args:
        same_keywords: share of all keywords of two topics (Jaccard), above 0.
        same_meaning: cosine of their embeddings; above 1, none are the same by it.
        embedding: "tfidf", the words of name and keywords weighed by how few topics have them, or
            a sentence-transformers model, which knows synonyms.
        most_keywords: that a topic keeps.
        upper: levels from the top that are no more than a place: two topics that differ in nothing
            else above them do not differ in earnest.
    """

    same_keywords: float = 0.5
    same_meaning: float = 0.8
    embedding: str = TFIDF
    most_keywords: int = 8
    upper: int = 0


class _One:
    """A topic in normal form."""

    __slots__ = (
        *("context", "found", "key", "keywords", "levels", "name", "proper", "sources"),
        *("spelled", "words"),
    )

    def __init__(self, found: Found, how: Merging) -> None:
        topic = found.topic
        self.found = found
        self.levels = tuple(map(words_of, topic.path))
        self.name = self.levels[-1]
        self.spelled = " ".join(sorted(self.name))
        # Pearl River is no Pearl Rivers: in a name of several words, an "s" may be a part of it.
        self.proper = is_proper(topic.path[-1])
        last = topic.path[-1].casefold() if self.proper else self.name
        self.key = (*self.levels[:-1], last)
        above = self.levels[how.upper : -1]
        self.context = frozenset(word for level in above for word in level) - SMALL
        words = {" ".join(words_of(word)): word for word in topic.keywords}
        self.words = dict(list(words.items())[: how.most_keywords])  # normal form -> as written
        self.keywords = frozenset(self.words)  # its own, without those that it gains
        self.sources = dict.fromkeys(found.sources)

    def may_be_short_for(self, other: _One) -> bool:
        """Whether one name ends as the other does, or is a single word."""
        short, long = sorted((self.name, other.name), key=len)
        return long[-len(short) :] == short or (len(short) == 1 and len(long) > 2)


def merge(found: Iterable[Found], how: Merging | None = None) -> tuple[list[Found], list[Merger]]:
    """Each topic once: of topics that are the same, the first stays and gains keywords, sources.

    A topic is merged into one that stays, never into one that went itself: there are no chains.

    Args:
        found: in order of preference.
        how: what counts as the same.

    Returns:
        the topics that stay, and what was merged.
    """
    how = how or Merging()
    mergers: list[Merger] = []
    unique = _by_path(found, how, mergers)
    lower = {
        word
        for one in unique
        for name in (one.found.topic.path[-1], *one.found.topic.keywords)
        for spelled in name.split()
        if spelled.islower()
        for word in words_of(spelled)
    }
    gone = np.zeros(len(unique), bool)
    candidates, cosines = _candidates(unique, how)
    with Progress(len(candidates), "comparing topics", "pairs") as progress:
        for pair, ((one, other), cosine) in enumerate(zip(candidates, cosines, strict=True)):
            if pair % _TOLD == 0:
                progress.update(min(_TOLD, len(candidates) - pair))
            if gone[one] or gone[other]:
                continue
            by = _same(unique[one], unique[other], float(cosine), how, lower)
            if by is not None:
                gone[other] = True
                _join(unique[one], unique[other], by, how, mergers)
    kept = [one for one, went in zip(unique, gone, strict=True) if not went]
    return [
        Found(Topic(one.found.topic.path, tuple(one.words.values())), tuple(one.sources))
        for one in kept
    ], mergers


def merge_duplicates(
    topics: Iterable[Topic], same_keywords: float = 0.5, most_keywords: int = 8
) -> list[Topic]:
    """Each topic once; see `merge`."""
    how = Merging(same_keywords=same_keywords, most_keywords=most_keywords)
    return [one.topic for one in merge(map(Found, topics), how)[0]]


def _by_path(found: Iterable[Found], how: Merging, mergers: list[Merger]) -> list[_One]:
    unique: dict[tuple[object, ...], _One] = {}
    for each in found:
        one = _One(each, how)
        kept = unique.setdefault(one.key, one)
        if kept is not one:
            same = kept.found.topic.path == each.topic.path
            _join(kept, one, ("path" if same else "path in normal form", 1.0), how, mergers)
    return list(unique.values())


def _join(
    kept: _One, one: _One, by: tuple[str, float], how: Merging, mergers: list[Merger]
) -> None:
    for word, spelling in one.words.items():
        if len(kept.words) < how.most_keywords:
            kept.words.setdefault(word, spelling)
    for source in one.sources:
        if len(kept.sources) < _SOURCES:
            kept.sources.setdefault(source)
    mergers.append(Merger(one.found.topic.key, kept.found.topic.key, *by))


def _same(
    one: _One, other: _One, cosine: float, how: Merging, lower: set[str]
) -> tuple[str, float] | None:
    """Why two topics are the same, and how alike they are; None where they are not."""
    common = len(one.keywords & other.keywords)
    jaccard = common / max(len(one.keywords | other.keywords), 1)
    few = min(len(one.keywords), len(other.keywords)) < _FEW
    enough, near = how.same_keywords, how.same_meaning
    if one.spelled == other.spelled:
        if not (one.context - other.context and other.context - one.context):
            alike = one.found.topic.path[-1].casefold() == other.found.topic.path[-1].casefold()
            if common or (few and (alike or not one.proper)):
                return "name", jaccard
        else:  # the food of Rome and the food of the Middle Ages share their words, too
            enough, near = (1 + enough) / 2, (1 + near) / 2
    else:
        strong = not few and (jaccard >= enough or cosine >= near)
        if not strong and not one.may_be_short_for(other):
            return None
        if told_apart(one.name, other.name):
            return None
        if one.name in other.levels or other.name in one.levels:  # the one lies under the other
            return None
        names = (one.found.topic.path[-1], other.found.topic.path[-1])
        if short_for(*names, lower):
            shared = common + len(set(one.levels[:-1]) & set(other.levels[:-1]))
            shared += len(one.keywords & {" ".join(level) for level in other.levels})
            shared += len(other.keywords & {" ".join(level) for level in one.levels})
            if shared >= 2:
                return "short name", jaccard
        if not strong or one.levels[:-1] == other.levels[:-1]:
            return None  # who put them side by side meant two things
        if how.embedding == TFIDF and not contains(one.name, other.name):
            return None
    if few:
        return None
    if jaccard >= enough and contains(one.name, other.name):
        return "keywords", jaccard
    return ("meaning", cosine) if cosine >= near else None


def _candidates(unique: Sequence[_One], how: Merging) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of topics that may be the same, the first one's number first, and their cosines."""
    pairs = [_within(_names(unique)), _within(_last_words(unique))]
    pairs.append(_within(_bands(_signatures(unique))))
    texts = [f"{' '.join(one.name)} {' '.join(sorted(one.keywords))}" for one in unique]
    if how.same_meaning <= 1 and how.embedding != TFIDF:
        from synthdiv.baselines.embeddings import embed

        rows: Any = embed(texts, how.embedding).vectors
        pairs.append(_within(_bands(_directions(rows))))
    found = np.unique(np.concatenate(pairs), axis=0)
    found = found[np.lexsort((found[:, 0], found[:, 1]))]  # each topic with all before it
    if how.same_meaning > 1 or not len(found):
        return found, np.zeros(len(found))
    if how.embedding == TFIDF:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # A word that no other topic has counts against two topics' being the same.
        split = TfidfVectorizer(analyzer=str.split, dtype=np.float32, sublinear_tf=True)
        rows = split.fit_transform(texts)
    cosines = np.zeros(len(found), np.float32)
    for start in range(0, len(found), 1 << 16):
        one, other = found[start : start + (1 << 16)].T
        multiply = getattr(rows[one], "multiply", rows[one].__mul__)  # of SciPy, or of NumPy
        cosines[start : start + (1 << 16)] = np.asarray(multiply(rows[other]).sum(axis=1)).ravel()
    return found, cosines


def _names(unique: Sequence[_One]) -> Iterator[list[int]]:
    """Topics of one name; of very many, those whose next level is the same, too."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, one in enumerate(unique):
        groups[one.spelled].append(number)
    for group in groups.values():
        if len(group) <= _GROUP:
            yield group
            continue
        closer: dict[Any, list[int]] = defaultdict(list)
        for number in group:
            closer[unique[number].levels[-2:]].append(number)
        yield from closer.values()


def _last_words(unique: Sequence[_One]) -> Iterator[list[int]]:
    """Topics whose names end alike, or are one another's initials."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(unique):
        groups[one.name[-1]].append(number)
        if len(one.name) > 2:
            groups["".join(word[0] for word in one.name if word not in SMALL)].append(number)
    yield from (group for group in groups.values() if len(group) <= _GROUP)


def _signatures(unique: Sequence[_One]) -> np.ndarray:
    """MinHash of the keywords, [topics, permutations]; without three, a row of its own."""
    from rensa import RMinHash

    from synthdiv.baselines.words import mix

    signatures = np.empty((len(unique), _PERMUTATIONS), np.uint32)
    numbers: dict[str, int] = {}
    for start in range(0, len(unique), _AT_ONCE):
        flat: list[int] = []
        edges = [0]
        for place, one in enumerate(unique[start : start + _AT_ONCE], start):
            words = one.keywords if len(one.keywords) >= _FEW else (f"\0{place}",)
            flat += [numbers.setdefault(word, len(numbers)) for word in words]
            edges.append(len(flat))
        found = RMinHash.digest_matrix_from_flat_token_hashes(
            mix(np.array(flat, np.uint64)), np.array(edges, np.uint64), _PERMUTATIONS, 3
        )
        signatures[start : start + _AT_ONCE] = found.to_rows()
    return signatures


def _directions(rows: np.ndarray) -> np.ndarray:
    """On which side of random planes embeddings lie, 12 planes to a number: [topics, tables]."""
    random = np.random.default_rng(0)
    tables, planes = 2 * 24, 12
    sides = np.empty((len(rows), tables), np.uint32)
    for table in range(tables):
        on = rows @ random.standard_normal((rows.shape[1], planes)) > 0
        sides[:, table] = on @ (1 << np.arange(planes))
    return sides


def _bands(signatures: np.ndarray) -> Iterator[list[int]]:
    """Groups of topics that agree in a band of their signatures."""
    for start in range(0, signatures.shape[1], _BAND):
        band = signatures[:, start : start + _BAND].astype(np.uint64)
        keys = band[:, 0] * np.uint64(1 << 32) + band[:, 1]
        order = np.argsort(keys, kind="stable").astype(np.int32)
        begins = np.append(0, np.flatnonzero(np.diff(keys[order])) + 1)
        sizes = np.diff(np.append(begins, len(order)))
        for begin, size in zip(begins[sizes > 1], sizes[sizes > 1], strict=True):
            yield order[begin : begin + size].tolist()


def _within(groups: Iterable[Sequence[int]]) -> np.ndarray:
    """All pairs within each group; of a large one, of those that stand near."""
    by_size: dict[int, list[Sequence[int]]] = defaultdict(list)
    found = [np.empty((0, 2), np.int32)]
    for group in groups:
        if len(group) <= _GROUP:
            by_size[len(group)].append(group)
        else:
            row = np.array(group, np.int32)
            ahead = range(1, _GROUP // 8)
            found += [np.stack([row[:-step], row[step:]], axis=1) for step in ahead]
    for size, alike in by_size.items():
        one, other = np.triu_indices(size, 1)
        rows = np.array(alike, np.int32)
        found.append(np.stack([rows[:, one].ravel(), rows[:, other].ravel()], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def counts_by(mergers: Iterable[Merger]) -> dict[str, int]:
    """How many topics were merged for each reason."""
    return dict(Counter(one.by for one in mergers))
