"""What a scored corpus lacks and what it has too much of: the answer to "what next?".

The documents that a score's rounds read are a random sample of the corpus. They are counted by the
values of the score's codebooks, or by the groups of clusters that recur where there is none, and by
the branches of a topic tree. Of n documents that were read, what none of them has is less than 3/n
of the corpus with 95% confidence; what some have gets Wilson's interval.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.diversity.growing import wilson
from synthdiv.diversity.recurring import find_recurring
from synthdiv.errors import UserError
from synthdiv.generation.grounds import TopicWords
from synthdiv.generation.topics import Topic, read_topics, topic_lines
from synthdiv.plans import text_table
from synthdiv.reporting.score_files import ScoreFiles, read_score_files
from synthdiv.reporting.values import FEW, known_values, paths

FULL = 1.5  # times its even share from which something is too full, if its interval is above that
_Z = 1.96  # of a 95% interval
_NONE = 3.0  # documents that might have been there with 95% confidence where none was
_SHOWN = 12  # rows of one kind on a terminal
_KEYWORDS = 6  # of a seed made of a value

Path_ = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Share:
    """What part of a corpus something is.

    Attributes:
        path: its name, below the names of what it belongs to.
        documents: how many of those that were read; a document of several values counts in parts.
        read: how many documents were read that could have been.
        even: the share that it would have if nothing were fuller than anything else.
        codebooks: numbers, from 1, of the codebooks that know it, where there are several. All
            other figures are then of what was read under these.
    """

    path: Path_
    documents: float
    read: int
    even: float
    codebooks: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        return self.documents / self.read

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's interval; the rule of three where no document was found."""
        if not self.documents:
            return 0.0, min(_NONE / self.read, 1.0)
        low, high = wilson(self.share, self.read, _Z)
        return max(low, 0.0), min(high, 1.0)

    @property
    def times(self) -> float:
        """Its share over the even one."""
        return self.share / self.even

    def as_json(self) -> dict[str, Any]:
        """As gaps.json has it."""
        return {
            "path": list(self.path),
            "documents": round(self.documents, 3),
            "read": self.read,
            "share": self.share,
            "ci95": list(self.ci95),
            "even_share": self.even,
            "codebooks": list(self.codebooks),
        }


@dataclasses.dataclass(frozen=True)
class Shelf:
    """All that a corpus could hold at one level of a facet or a tree.

    Attributes:
        name: such as "subject.discipline".
        shares: of each value or branch.
        closed: whether the list says what there could be, so that something can be missing.
    """

    name: str
    shares: tuple[Share, ...]
    closed: bool = True

    @property
    def missing(self) -> list[Share]:
        """What no document that was read has."""
        return [one for one in self.shares if not one.documents]

    @property
    def few(self) -> list[Share]:
        """What next to none has, rarest first."""
        found = [one for one in self.shares if 0 < one.documents <= FEW]
        return sorted(found, key=lambda one: one.share) if self.closed else []

    @property
    def full(self) -> list[Share]:
        """What far more have than an even share, fullest first."""
        found = [one for one in self.shares if one.documents > FEW]
        return sorted(
            (one for one in found if one.ci95[0] > FULL * one.even), key=lambda one: -one.share
        )

    def as_json(self) -> dict[str, Any]:
        """As gaps.json has it."""
        parts = {"missing": self.missing, "few": self.few, "full": self.full}
        listed = {name: [one.as_json() for one in found] for name, found in parts.items()}
        return {"level": self.name, "known": len(self.shares), "closed": self.closed} | listed


@dataclasses.dataclass(frozen=True)
class Gaps:
    """What is missing in a corpus, and what is too full.

    Attributes:
        corpus: its name.
        judge: who read it.
        read: documents that were read.
        shelves: levels of facets, recurring groups, levels of the tree.
        seeds: topics that nobody, or next to nobody, wrote about.
    """

    corpus: str
    judge: str
    read: int
    shelves: tuple[Shelf, ...]
    seeds: tuple[Topic, ...]

    def as_json(self) -> dict[str, Any]:
        """What gaps.json holds."""
        return {
            "corpus": self.corpus,
            "judge": self.judge,
            "documents_read": self.read,
            "not_seen_means_share_below": min(_NONE / self.read, 1.0),
            "full_from": FULL,
            "levels": [shelf.as_json() for shelf in self.shelves],
            "seeds": len(self.seeds),
        }

    def seed_lines(self) -> str:
        """The topic seeds as JSON lines."""
        return topic_lines((one, ()) for one in self.seeds)

    def __str__(self) -> str:
        head = [
            f"{self.corpus}: {self.read:,} documents were read; what none of them has is less than"
            f" {min(_NONE / self.read, 1):.1%} of the corpus (95%)"
        ]
        if any(one.codebooks for shelf in self.shelves for one in shelf.shares):
            head.append(
                "codebooks name values differently: each value's figures are of the documents that"
                " were read under the codebooks that know it"
            )
        if not any(shelf.closed for shelf in self.shelves):
            head.append(
                "what is missing cannot be told: clusters have no list of what there could be; a"
                " score by values at levels has one, and so has a topic tree"
            )
        return "\n\n".join(["\n".join(head), *(block for s in self.shelves if (block := _told(s)))])


def _told(shelf: Shelf) -> str:
    rows: list[tuple[str, ...]] = []
    books = {number for one in shelf.shares for number in one.codebooks}
    for word, found in (("missing", shelf.missing), ("few", shelf.few), ("full", shelf.full)):
        for one in found[:_SHOWN]:
            low, high = one.ci95
            ends = f"{low:.1%} to {high:.1%}" if one.documents else f"below {high:.1%}"
            share, even = f"{one.share:.1%}", f"{one.even:.1%}"
            count, by = f"{one.documents:.3g}", ", ".join(map(str, one.codebooks))
            rows.append((word, " / ".join(one.path), count, share, ends, even, by))
        if (more := len(found) - _SHOWN) > 0:
            rows.append((word, f"and {more:,} more", "", "", "", "", ""))
    known = f"known to {len(books)} codebooks" if books else "known"
    summary = f"{shelf.name}: {len(shelf.shares):,} " + (
        f"{known}, {len(shelf.missing):,} missing,"
        f" {len(shelf.few):,} with {FEW} documents or fewer,"
        if shelf.closed
        else "found,"
    )
    summary += f" {len(shelf.full):,} too full"
    head = ("", shelf.name, "documents", "share", "95% interval", "even share", "codebook")
    columns = len(head) if books else len(head) - 1
    table = text_table(head[:columns], [row[:columns] for row in rows], left=2)
    return f"{summary}\n{table}" if rows else summary


def find_gaps(score: Path | str, topics: Path | str | None = None, depth: int = 2) -> Gaps:
    """Says what a scored corpus lacks and what it has too much of.

    Args:
        score: directory of a score.
        topics: JSONL of topic seeds, the tree to look in.
        depth: levels of the tree that are looked at; seeds come from branches of the last one.

    Raises:
        UserError: there is no score or a part of it is missing, or no usable tree, or nothing was
            read.
    """
    files = read_score_files(score)
    about, values = files.score.get("corpus") or {}, Path(score) / "values.parquet"
    if "name" not in about:
        raise UserError(f"{Path(score) / 'score.json'} names no corpus: it is not a score's")
    if files.score.get("codebooks") and files.score.get("levels") and not values.exists():
        raise UserError(f"no file {str(values)!r}, which has what documents are about")
    read = sorted({index for one in files.rounds if not one.failed for index in one.indices})
    if not read:
        raise UserError(f"no round of {score} was judged: there is nothing to look for gaps in")
    if depth < 1:
        raise UserError("`depth` must be at least 1")
    shelves, seeds = _values(files)
    if not shelves and all(index in files.documents for index in read):
        shelves = _groups(files, len(read))
    if topics is not None:
        branches, lacking = _branches(files, read, read_topics(topics), depth)
        shelves, seeds = [*shelves, *branches], lacking + seeds
    return Gaps(
        corpus=str(about["name"]),
        judge=str((files.score.get("judge") or {}).get("model", "")),
        read=len(read),
        shelves=tuple(shelves),
        seeds=tuple({topic.key: topic for topic in reversed(seeds)}.values())[::-1],
    )


def _values(files: ScoreFiles) -> tuple[list[Shelf], list[Topic]]:
    """Every level of every facet, and seeds out of the values that the headline's facet lacks."""
    rows = files.by_codebook
    if not rows:
        return [], []
    codebooks: Sequence[Mapping[str, Any]] = files.score["codebooks"]
    read = {book: {row["index"] for row in found} for book, found in rows.items()}
    times = {book: Counter(row["index"] for row in found) for book, found in rows.items()}
    headline = str((files.score.get("config") or {}).get("level", "")).partition(".")[0]
    columns = set().union(*files.values)
    shelves, seeds = [], []
    for number, facet in enumerate(codebooks[0]["facets"]):
        levels = [level["name"] for level in facet["levels"]]
        sorted_by = {level for level in levels if f"{facet['name']}.{level}" in columns}
        if not sorted_by:
            continue  # sorted by another facet
        names: dict[Path_, tuple[str, str]] = {}
        known_to: dict[Path_, list[int]] = defaultdict(list)  # codebooks
        size: Counter[tuple[int, int]] = Counter()  # values of a codebook with so long a path
        have: dict[Path_, Counter[int]] = defaultdict(Counter)  # times each document had it
        for book, found in rows.items():
            known = dict(known_values(codebooks[book]["facets"][number]))
            for path, told in known.items():
                names.setdefault(path, told)
                known_to[path].append(book)
                size[book, len(path)] += 1
            for row in found:
                for path, _ in paths(row, facet["name"], levels):
                    if path in known:
                        have[path][row["index"]] += 1
        differ = any(len(books) < len(rows) for books in known_to.values())

        shares: dict[Path_, Share] = {}
        for path, books in known_to.items():
            held = [sum(times[book][index] for book in books) for index in have[path]]
            parts = (n / of for n, of in zip(have[path].values(), held, strict=True))
            evens = [len(read[book]) / size[book, len(path)] for book in books]
            shares[path] = Share(
                path=_named(path, names),
                documents=_whole(sum(parts)),
                read=len(set().union(*(read[book] for book in books))),
                even=sum(evens) / sum(len(read[book]) for book in books),
                codebooks=tuple(book + 1 for book in books) if differ else (),
            )
        for depth, level in enumerate(levels, 1):
            here = tuple(one for path, one in shares.items() if len(path) == depth)
            if here and level in sorted_by:
                shelves.append(Shelf(f"{facet['name']}.{level}", here))
        if facet["name"] == headline:
            branches = {path[:-1] for path in names}
            rare = [p for p in names if p not in branches and shares[p].documents <= FEW]
            rare.sort(key=lambda path: shares[path].documents)
            seeds = [_seed(path, names) for path in rare]
    return shelves, seeds


def _whole(count: float) -> float:
    """A sum of parts without the last bits that adding them leaves."""
    return round(count, 9)


def _named(path: Path_, names: Mapping[Path_, tuple[str, str]]) -> Path_:
    return tuple(names[path[: n + 1]][0] for n in range(len(path)))


def _seed(path: Path_, names: Mapping[Path_, tuple[str, str]]) -> Topic:
    """A value as a topic: its path, and what its meaning lists."""
    parts = names[path][1].rstrip(".").replace(";", ",").split(",")
    keywords = [words.strip() for words in parts if words.strip()][:_KEYWORDS]
    return Topic(tuple(name.replace("/", " or ") for name in _named(path, names)), tuple(keywords))


def _groups(files: ScoreFiles, read: int) -> list[Shelf]:
    """The groups of clusters that recur; nobody knows which others there could be."""
    groups = find_recurring(files.clusters, files.documents, most=len(files.clusters))
    shares = (Share((one.name,), one.share * read, read, 1 / len(groups)) for one in groups)
    return [Shelf("recurring clusters", tuple(shares), closed=False)]


def _branches(
    files: ScoreFiles, read: Sequence[int], topics: Sequence[Topic], depth: int
) -> tuple[list[Shelf], list[Topic]]:
    """The first levels of a tree, and the seeds of its last level's empty branches."""
    found = _topics_of(files, read, topics)
    shelves = []
    for levels in range(1, depth + 1):
        seeds = Counter(topic.path[:levels] for topic in topics)
        have: dict[Path_, float] = defaultdict(float)
        for of in found.values():
            for path in of:
                have[path[:levels]] += 1 / len(of)
        shares = (
            Share(path, _whole(have.get(path, 0.0)), len(read), count / len(topics))
            for path, count in seeds.items()
        )
        shelves.append(Shelf(f"topics, level {levels}", tuple(shares)))
    last, used = shelves[-1], {path for of in found.values() for path in of}
    order = {one.path: place for place, one in enumerate([*last.missing, *last.few])}
    lacking = [t for t in topics if t.path[:depth] in order and t.path not in used]
    return shelves, sorted(lacking, key=lambda topic: order[topic.path[:depth]])


def _topics_of(
    files: ScoreFiles, read: Iterable[int], topics: Sequence[Topic]
) -> dict[int, list[Path_]]:
    """Paths of each document's topics: as its provenance has them, else by the words it uses."""
    words: TopicWords | None = None
    fields = {topic.path[0] for topic in topics}
    found: dict[int, list[Path_]] = {}
    for index in read:
        document = files.documents.get(index)
        told = str(document.provenance.get("topic") or "") if document else ""
        of = [path for key in told.split(" + ") if (path := tuple(key.split("/")))[0] in fields]
        if of:
            found[index] = of
        elif document:
            words = words or TopicWords(topics)
            places, worth = words.met(document.text)
            found[index] = [topics[int(places[worth.argmax()])].path] if len(places) else []
    return found
