"""Judges of known quality, behind the real session: what a server of theirs would answer.

They take the part of a backend, so prompts, schemas, checks, re-asking, the store and everything
above run as they do with a real model. The offline judge answers the steps they leave alone.
"""

import contextlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from synthdiv.diversity import ScoreConfig
from synthdiv.llm import LLMConfig, Session, fenced
from synthdiv.llm.money import FREE
from synthdiv.llm.protocol import Answer, Call, Usage
from synthdiv.offline.backend import OfflineBackend

# A run of little work, for tests that need a whole one.
SMALL = ScoreConfig(
    rounds=40,
    documents_per_round=6,
    criteria_rounds=8,
    criteria_documents=3,
    criteria_sets=4,
    control_rounds=0,
    bootstrap=200,
    with_baselines=False,
)


class JudgeBackend(OfflineBackend):
    """Answers the schemas in `answers` by its own functions of the fenced texts, by kind."""

    name = "test"

    def __init__(self, model: str, **answers: Callable[[Mapping[str, list[str]]], object]) -> None:
        self.model = model
        self.answers = answers
        self.calls: dict[str, int] = {}

    async def complete(self, call: Call) -> Answer:
        title = (call.schema or {}).get("title", "")
        self.calls[title] = self.calls.get(title, 0) + 1
        if title not in self.answers:
            return await super().complete(call)
        texts: dict[str, list[str]] = {}
        for message in call.messages:
            if message["role"] != "assistant":
                for block in fenced(message["content"]):
                    texts.setdefault(block.kind, []).append(block.text)
        reply = self.answers[title](texts)
        text = reply if isinstance(reply, str) else json.dumps(reply)
        return Answer(text, Usage(10, 0, 10))


@contextlib.contextmanager
def session_of(backend: JudgeBackend, store: Path | None = None) -> Iterator[Session]:
    with Session(LLMConfig(), backend, FREE, store) as session:
        yield session


def cluster_reply(groups: Sequence[Sequence[int]]) -> dict:
    """A clustering of document numbers from 1."""
    return {
        "clusters": [
            {
                "name": f"cluster {n}",
                "documents": list(group),
                "reason": "they are alike",
                "metadata": [],
                "metrics": [],
            }
            for n, group in enumerate(groups, 1)
        ]
    }


def verdicts_reply(valid: Sequence[bool]) -> dict:
    return {"verdicts": [{"cluster": n, "valid": v, "reason": ""} for n, v in enumerate(valid, 1)]}


def grouped(labels: Sequence[object]) -> list[list[int]]:
    """Document numbers from 1 by label."""
    groups: dict[object, list[int]] = {}
    for number, label in enumerate(labels, 1):
        groups.setdefault(label, []).append(number)
    return list(groups.values())


def label_judge(label_of: Callable[[str], object], error: float = 0.0) -> JudgeBackend:
    """Sorts by label; with probability `error` puts a document into a cluster of its own."""

    def clustering(texts: Mapping[str, list[str]]) -> object:
        documents = texts["document"]
        generator = random.Random("".join(documents))
        labels = [
            ("own", n) if generator.random() < error else label_of(text)
            for n, text in enumerate(documents)
        ]
        return cluster_reply(grouped(labels))

    def verification(texts: Mapping[str, list[str]]) -> object:
        return verdicts_reply([True] * len(texts["cluster"]))

    return JudgeBackend(f"labels, error {error}", Clustering=clustering, Verification=verification)


def value_judge(
    label_of: Callable[[str], object], labels: Sequence[object], error: float = 0.0
) -> JudgeBackend:
    """Describes by label in every facet; with probability `error` finds that no value fits.

    It reads the facets of prompts/levels: each label is a value at every level of each.
    """
    levels = {
        "A": ("field", "discipline", "specialty"),
        "B": ("genre", "kind"),
        "C": ("manner",),
        "D": ("readers",),
    }

    def numbered(documents: list[str], key: str, value: Callable[[str], list[str]]) -> object:
        return {"documents": [{"document": n, key: value(t)} for n, t in enumerate(documents, 1)]}

    def notes(texts: Mapping[str, list[str]]) -> object:
        names = [level for facet in levels.values() for level in facet]
        return numbered(
            texts["document"], "values", lambda text: [f"{name} {label_of(text)}" for name in names]
        )

    def gathered(texts: Mapping[str, list[str]]) -> object:
        described = texts["note"][0].splitlines()[-1].split(" / ")
        names = [value.split()[0] for value in described]
        values = [
            {"level": name, "name": str(label), "meaning": f"about {label}"}
            for label in labels
            for name in names
        ]
        return {"values": values}

    def codes(texts: Mapping[str, list[str]]) -> object:
        generator = random.Random("".join(texts["document"]))

        def codes_of(text: str) -> list[str]:
            if generator.random() < error:
                return [f"{letter}0" for letter in levels]
            place = labels.index(label_of(text)) + 1
            return [
                f"{letter}{place}" + ".1" * (len(facet) - 1) for letter, facet in levels.items()
            ]

        return numbered(texts["document"], "codes", codes_of)

    return JudgeBackend(f"values, error {error}", Notes=notes, GatheredValues=gathered, Codes=codes)
