"""Topic seeds out of pages: an LLM lists what each page teaches, under one tree for all.

The paper made its 620,000 topics so, from Wikipedia (section 3.2 of arXiv 2410.15226): a hierarchy
of up to five levels and a list of keywords per topic, then de-duplication. A page is read whole, in
parts. The upper levels are a closed list, so that two pages that would name a field differently
find their topics in one place; what is put elsewhere is asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv import config as configuration
from synthdiv import files
from synthdiv.config import PathName, settle
from synthdiv.errors import UserError
from synthdiv.generation.listings import PAGES, as_topic, kind_of, read_listing
from synthdiv.generation.merging import TFIDF, Found, Merging, counts_by, merge
from synthdiv.generation.naming import words_of
from synthdiv.generation.prompts import Prompts
from synthdiv.generation.schemas import TopicList
from synthdiv.generation.sources import Source, Sources
from synthdiv.generation.topics import Topic, topic_lines
from synthdiv.json_lines import as_lines
from synthdiv.llm import Request, Sampling, Stage, in_steps

if TYPE_CHECKING:
    from synthdiv.llm import Plan, Session

STAGE = "topics"
UPPER = 2  # levels of the tree that are a closed list
_PLANNED = 200  # pages that stand for all in a plan


@dataclass(frozen=True)
class TopicsConfig:
    """How topics are taken from pages, and what counts as one; gin scope `Topics`.

    Raises:
        UserError: a value out of range.
    """

    part_characters: int = 6000  # of a page are shown at once; a longer one is read in parts
    tree: PathName = "topics/seeds.jsonl"  # whose upper two levels all topics are placed under
    same_keywords: float = 0.5  # topics that share this much of their keywords (Jaccard) are one
    same_meaning: float = 0.8  # and those whose embeddings are this near (cosine); 2: none are
    embedding: str = TFIDF  # or a sentence-transformers model
    most_keywords: int = 8
    prompts: PathName = "prompts/generation"
    temperature: float = 0.0
    max_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        if self.part_characters < 200:
            raise UserError("Topics.part_characters must be at least 200")
        if self.most_keywords < 1:
            raise UserError("Topics.most_keywords must be at least 1")
        if self.seed < 0:
            raise UserError("Topics.seed must not be negative")
        if not 0 < self.same_keywords <= 1:
            raise UserError("Topics.same_keywords must be above 0 and at most 1")
        if not self.same_meaning > 0:
            raise UserError("Topics.same_meaning must be above 0")

    def merging(self, upper: int) -> Merging:
        """What counts as one topic, where so many levels are no more than a place."""
        return Merging(
            self.same_keywords, self.same_meaning, self.embedding, self.most_keywords, upper
        )


class Branches:
    """The closed list of upper levels.

    Args:
        tree: a file of topics, of any kind but pages.
    """

    def __init__(self, tree: Path) -> None:
        kind = kind_of(tree)
        if kind == PAGES:
            raise UserError(f"{tree} is no tree of topics")
        found = (one.topic.path[:UPPER] for one in read_listing(tree, kind))
        self.paths = list(dict.fromkeys(found))
        self._known = {tuple(map(words_of, path)): path for path in self.paths}

    def known(self, path: Sequence[str]) -> tuple[str, ...] | None:
        """The branch that a path begins with, as it is written in the list; None for no one."""
        for depth in range(UPPER, 0, -1):
            if len(path) > depth or depth == 1:
                branch = self._known.get(tuple(map(words_of, path[:depth])))
                if branch is not None:
                    return branch
        return None

    def fault(self, reply: TopicList) -> str | None:
        """What is wrong with the places of a reply's topics, for whoever gave it."""
        for number, topic in enumerate(reply.topics, 1):
            if self.known(topic.path) is None:
                named = " / ".join(topic.path[:UPPER])
                return (
                    f"the path of topic {number} begins with {named!r}, which is none of the"
                    " branches: copy the one that fits best, word for word"
                )
        return None

    def placed(self, path: Sequence[str]) -> tuple[str, ...] | None:
        """A path under the branch that it begins with, or names in most words; None for no one."""
        branch = self.known(path)
        if branch is not None:
            return (*branch, *path[len(branch) :])
        words = Counter(word for level in path[:-1] for word in words_of(level))
        shared = {
            branch: sum(words[word] for level in branch for word in words_of(level))
            for branch in self.paths
        }
        nearest = max(self.paths, key=shared.__getitem__)
        return (*nearest, path[-1]) if shared[nearest] else None


class _Reading:
    """The pages, and the requests that read them."""

    def __init__(self, pages: files.Corpus, config: TopicsConfig) -> None:
        self.sources = Sources(pages, config.part_characters)
        self.branches = Branches(configuration.find(config.tree))
        self._prompts = Prompts(config.prompts)
        self._sampling = Sampling(
            config.temperature, max_tokens=config.max_tokens, seed=config.seed
        )

    def __len__(self) -> int:
        """The number of requests."""
        return sum(map(self.sources.parts, range(len(self.sources))))

    def parts(self, step: int = 1) -> Iterator[Source]:
        """The parts of every page, or of every so-manieth."""
        for number in range(0, len(self.sources), step):
            for part in range(self.sources.parts(number)):
                yield self.sources.part(number, part)

    def request(self, part: Source) -> Request[TopicList]:
        prompt = self._prompts.page_topics(part, self.branches.paths)
        messages = ({"role": "user", "content": prompt},)
        return Request(messages, TopicList, self._sampling, STAGE, check=self.branches.fault)


def make_topics(
    pages: files.Corpus | None,
    output: Path,
    config: TopicsConfig,
    session: Session | None = None,
    listed: Iterable[Found] = (),
) -> dict[str, Any]:
    """Writes the topics that `pages` teach and those that are listed, each once, as topic seeds.

    Beside the JSONL, OUTPUT's name with `.merged.jsonl` tells what was merged into what and why.

    Args:
        pages: any corpus; None where all topics are listed.
        output: the JSONL file, written when all pages were asked about.
        config: how topics are taken and merged.
        session: who reads the pages, and where answers are kept.
        listed: topics that somebody has listed; where one of a page is the same, they stay.

    Returns:
        Counts: `pages`, `parts`, `failed` parts, `moved` topics that were put under the nearest
        branch, `lost` ones that none is near to, `found`, `topics` (kept), `merged` by reason, and
        the session's `usage`.

    Raises:
        UserError: there is no topic.
        Paused: the money is spent or a batch is to be answered; the same call goes on from there.
    """
    found = list(listed)
    counts: dict[str, Any] = {"pages": 0, "parts": 0, "failed": 0, "moved": 0, "lost": 0}
    if pages is not None and session is not None:
        found += _read(pages, config, session, counts)
    if not found:
        raise UserError(
            f"no topic found in {counts['pages']} pages of {getattr(pages, 'path', '')}"
        )
    kept, mergers = merge(found, config.merging(UPPER if pages is not None else 0))
    # The report first: the topics are there when all is.
    files.write_text(merged_path(output), as_lines(one._asdict() for one in mergers))
    files.write_text(output, topic_lines(kept))
    counts |= {"found": len(found), "topics": len(kept), "merged": counts_by(mergers)}
    return counts | ({"usage": session.stats} if session is not None else {})


def merged_path(output: Path) -> Path:
    """Where the report of what was merged lies."""
    return output.with_name(f"{output.stem}.merged.jsonl")


def plan_topics(pages: files.Corpus, config: TopicsConfig, session: Session) -> Plan:
    """What `make_topics` would take: calls, tokens and money."""
    reading = _Reading(pages, config)
    step = max(len(reading.sources) // _PLANNED, 1)
    examples = [reading.request(part) for part in reading.parts(step)]
    return session.plan({STAGE: Stage(examples, len(reading)) if step > 1 else examples})


def told(output: Path, counts: Mapping[str, Any]) -> str:
    """What `make_topics` counted, in words."""
    said = f"{output}: {counts['topics']:,} topics out of {counts['found']:,}"
    if counts["pages"]:
        said += f", found on {counts['pages']:,} pages in {counts['parts']:,} parts"
        said += f" ({counts['failed']:,} parts failed, {counts['moved']:,} topics put under the"
        said += f" nearest branch, {counts['lost']:,} under none)"
    merged = ", ".join(f"{number:,} by {by}" for by, number in counts["merged"].items())
    return f"{said}; merged {merged or 'none'}: {merged_path(output)}"


def _read(
    pages: files.Corpus, config: TopicsConfig, session: Session, counts: dict[str, Any]
) -> list[Found]:
    """Asks about every part of every page; returns the topics in the pages' order."""
    reading = _Reading(pages, config)
    counts["pages"], counts["parts"] = len(reading.sources), len(reading)
    read: list[str] = []  # the page of each part

    def requests() -> Iterator[Request[TopicList]]:
        for part in reading.parts():
            read.append(part.id)
            yield reading.request(part)

    answered: dict[int, list[Topic]] = {}
    with in_steps({STAGE: [STAGE]}):
        replies = session.map(session.ask, requests(), "reading pages", counts["parts"])
        for index, reply in replies:
            if reply.value is None:  # one that is at fault in its places alone has a value
                counts["failed"] += 1
                continue
            answered[index] = []
            for topic in reply.value.topics:
                path = reading.branches.placed(topic.path)
                kept = as_topic(path, topic.keywords) if path else None
                counts["moved"] += reading.branches.known(topic.path) is None and kept is not None
                counts["lost"] += kept is None
                if kept is not None:
                    answered[index].append(kept)
    # In the pages' order, so that what is merged into what does not depend on who answered first.
    by_page: dict[tuple[str, tuple[str, ...]], Topic] = {}
    for index in sorted(answered):
        for made in answered[index]:
            # A page has one place for a subject, whatever a later part of it says.
            of = (read[index], words_of(made.path[-1]))
            first = by_page.get(of, made)
            words = tuple(dict.fromkeys((*first.keywords, *made.keywords)))
            by_page[of] = Topic(first.path, words)
    return [Found(topic, (page,)) for (page, _), topic in by_page.items()]
