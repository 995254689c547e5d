"""Topic seeds out of pages: an LLM lists each page's topics, and what comes twice is merged.

The paper made its 620,000 topics so, from Wikipedia (section 3.2 of arXiv 2410.15226): a hierarchy
of up to five levels and a list of keywords per topic, then de-duplication.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv import files
from synthdiv.config import PathName, settle
from synthdiv.errors import UserError
from synthdiv.generation.prompts import Prompts
from synthdiv.generation.schemas import TopicList
from synthdiv.generation.topics import Topic
from synthdiv.llm import Request, Sampling, in_steps

if TYPE_CHECKING:
    from synthdiv.llm import Plan, Session

STAGE = "topics"


@dataclass(frozen=True)
class TopicsConfig:
    """How topics are taken from pages; gin scope `Topics`.

    Raises:
        UserError: a value out of range.
    """

    most_per_page: int = 3
    page_characters: int = 6000  # of a page are shown to the LLM
    same_keywords: float = 0.5  # topics that share this much of their keywords (Jaccard) are one
    most_keywords: int = 8
    prompts: PathName = "prompts/generation"
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        for name in ("most_per_page", "page_characters", "most_keywords"):
            if getattr(self, name) < 1:
                raise UserError(f"Topics.{name} must be at least 1")
        if self.seed < 0:
            raise UserError("Topics.seed must not be negative")
        if not 0 < self.same_keywords <= 1:
            raise UserError("Topics.same_keywords must be above 0 and at most 1")


def page_requests(pages: files.Corpus, config: TopicsConfig) -> Iterator[Request[TopicList]]:
    """One request a page, in the pages' order; empty pages are passed over."""
    prompts = Prompts(config.prompts)
    sampling = Sampling(config.temperature, max_tokens=config.max_tokens, seed=config.seed)
    for page in pages:
        text = page.text.strip()[: config.page_characters]
        if text:
            prompt = prompts.page_topics(text, config.most_per_page)
            yield Request(({"role": "user", "content": prompt},), TopicList, sampling, STAGE)


def make_topics(
    pages: files.Corpus, output: Path, config: TopicsConfig, session: Session
) -> dict[str, Any]:
    """Writes the topics that `pages` teach as topic seeds (JSONL), each once.

    Args:
        pages: any corpus.
        output: the JSONL file, written when all pages were asked about.
        config: how topics are taken and merged.
        session: who reads, and where answers are kept.

    Returns:
        Counts: `pages`, `failed`, `found`, `topics` (kept), and the session's `usage`.

    Raises:
        UserError: no page gave a topic.
        Paused: the money is spent or a batch is to be answered; the same call goes on from there.
    """
    answered: dict[int, list[Topic]] = {}
    failed = 0
    requests = page_requests(pages, config)
    with in_steps({STAGE: [STAGE]}):
        for index, reply in session.map(session.ask, requests, "reading pages"):
            if reply.failure is None and reply.value is not None:
                few = reply.value.topics[: config.most_per_page]
                named = [_clean(topic.path, topic.keywords) for topic in few]
                answered[index] = [topic for topic in named if topic is not None]
            else:
                failed += 1
    # In the pages' order, so that what is merged into what does not depend on who answered first.
    found = [topic for index in sorted(answered) for topic in answered[index]]
    if not found:
        raise UserError(f"no topic found in {len(answered) + failed} pages of {pages.path}")
    topics = merge_duplicates(found, config.same_keywords, config.most_keywords)
    lines = [
        json.dumps({"path": topic.path, "keywords": topic.keywords}, ensure_ascii=False)
        for topic in topics
    ]
    files.write_text(output, "\n".join(lines) + "\n")
    return {
        "pages": len(answered) + failed,
        "failed": failed,
        "found": len(found),
        "topics": len(topics),
        "usage": session.stats,
    }


def plan_topics(pages: files.Corpus, config: TopicsConfig, session: Session) -> Plan:
    """What `make_topics` would take: calls, tokens and money."""
    return session.plan({STAGE: list(page_requests(pages, config))})


def merge_duplicates(
    topics: Iterable[Topic], same_keywords: float = 0.5, most_keywords: int = 8
) -> list[Topic]:
    """Each topic once: of topics that are the same, the first stays and gains keywords.

    Two topics are the same if their paths are equal apart from case, punctuation and plurals, if
    so are their last two levels, or if their keyword sets overlap by `same_keywords` or more
    (Jaccard; topics of fewer than three keywords are not compared by them).

    Args:
        topics: in order of preference.
        same_keywords: share of keywords, above 0 and at most 1.
        most_keywords: a topic keeps at most so many.
    """
    kept: list[Topic] = []
    words: list[dict[str, str]] = []  # of each kept topic: normal form -> keyword as written
    compared: list[frozenset[str]] = []  # its own keywords' normal forms, without gained ones
    by_path: dict[tuple[str, ...], int] = {}
    by_word: dict[str, list[int]] = {}
    for topic in topics:
        levels = tuple(normalised(level) for level in topic.path)
        keywords = {normalised(word): word for word in topic.keywords if normalised(word)}
        keywords = dict(list(keywords.items())[:most_keywords])
        own = frozenset(keywords)
        paths = (levels, levels[-2:])
        twin = next((by_path[path] for path in paths if path in by_path), None)
        if twin is None and len(own) >= 3:
            twin = _nearest(own, compared, by_word, same_keywords)
        if twin is None:
            twin = len(kept)
            kept.append(topic)
            words.append({})
            compared.append(own)
            for word in own:
                by_word.setdefault(word, []).append(twin)
        for path in paths:
            by_path.setdefault(path, twin)
        for word, written in keywords.items():
            if len(words[twin]) < most_keywords:
                words[twin].setdefault(word, written)
    return [Topic(topic.path, tuple(own.values())) for topic, own in zip(kept, words, strict=True)]


def normalised(text: str) -> str:
    """A name's comparison form: lower case, words only, without plural endings."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(re.sub(r"(?<=[^s])s$", "", word) if len(word) > 3 else word for word in words)


def _nearest(
    own: frozenset[str],
    compared: list[frozenset[str]],
    by_word: dict[str, list[int]],
    same_keywords: float,
) -> int | None:
    # Sets that overlap by t have at least t * |own| words in common, so they also meet in any
    # |own| - t * |own| + 1 of them: the rarest are looked up, and frequent words cost nothing.
    enough = math.ceil(same_keywords * len(own))
    rarest = sorted(own, key=lambda word: (len(by_word.get(word, ())), word))
    candidates = {i for word in rarest[: len(own) - enough + 1] for i in by_word.get(word, ())}
    for index in sorted(candidates):
        other = compared[index]
        if len(other) >= 3 and len(own & other) / len(own | other) >= same_keywords:
            return index
    return None


def _clean(path: list[str], keywords: list[str]) -> Topic | None:
    """A topic as a reply has it, made fit for a topics file; None where nothing is left of it."""
    levels = [" ".join(level.replace("/", " ").split()) for level in path]
    levels = [level for level in levels if level]
    words = [" ".join(word.replace(";", " ").split()) for word in keywords]
    return Topic(tuple(levels), tuple(word for word in words if word)) if levels else None
