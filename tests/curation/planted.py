"""Real documents with near-duplicates and evaluation questions planted in them."""

import dataclasses
import gzip
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from synthdiv.curation.items import Item
from synthdiv.curation.normal import normal_form


def real_texts(shared_data: Path, name: str, most: int | None = None) -> list[str]:
    """Texts of a file of real documents."""
    with gzip.open(shared_data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    return texts[:most]


def jaccard(left: str, right: str, shingle: int = 5) -> float:
    """The Jaccard similarity of two texts' sets of shingles, by Python's own sets."""
    sets = []
    for text in (left, right):
        words = normal_form(text).split()
        sets.append({tuple(words[i : i + shingle]) for i in range(len(words) - shingle + 1)})
    return len(sets[0] & sets[1]) / max(len(sets[0] | sets[1]), 1)


@dataclasses.dataclass
class Planted:
    """Texts in which every one of `planted` repeats, or holds, what it says there."""

    texts: list[str]
    planted: dict[int, str]


def with_duplicates(texts: Sequence[str], share: float, threshold: float, seed: int) -> Planted:
    """Puts changed copies of some texts behind them: other case, words, ends, beginnings.

    A copy is planted only where its true similarity is at least the threshold.
    """
    draw = random.Random(seed)
    planted: dict[int, str] = {}
    out = list(texts)
    for number in draw.sample(range(len(texts)), int(share * len(texts))):
        kind = draw.choice(["same", "case", "words", "cut", "framed"])
        text = texts[number]
        words = text.split()
        if kind == "case":
            text = re.sub(r"[,;]", "", text.upper()).replace(". ", ".\n\n")
        elif kind == "words":
            for _ in range(max(len(words) // 60, 1)):
                words[draw.randrange(len(words))] = draw.choice(["indeed", "perhaps", "other"])
            text = " ".join(words)
        elif kind == "cut":
            text = " ".join(words[: -max(len(words) // 10, 1)]) + "."
        elif kind == "framed":
            text = f"Read more of this below.\n\n{text}\n\nShare this with whom it may concern."
        if jaccard(texts[number], text) >= threshold:
            planted[len(out)] = kind
            out.append(text)
    return Planted(out, planted)


def with_items(texts: Sequence[str], items: Sequence[Item], seed: int) -> Planted:
    """Puts each item into the middle of a text of its own, as it is or with words changed."""
    draw = random.Random(seed)
    out, planted = list(texts), {}
    for number, item in zip(draw.sample(range(len(texts)), len(items)), items, strict=True):
        words = item.text.split()
        kind = draw.choice(["as it is", "changed"]) if len(words) >= 20 else "as it is"
        if kind == "changed":  # in every run of 13 words, so that no run shows it
            first = draw.randrange(3, 10)
            for place in range(first, len(words), 12):
                words[place] = "otherwise"
        sentences = re.split(r"(?<=[.!?])\s+", out[number])
        place = len(sentences) // 2
        middle = [*sentences[:place], " ".join(words), *sentences[place:]]
        out[number] = " ".join(middle)
        planted[number] = kind
    return Planted(out, planted)


def recall_precision(found: set[int], planted: set[int], innocent: set[int]) -> tuple[float, float]:
    """Of the planted ones found, and of the found ones planted or known to be guilty otherwise."""
    right = len(found & planted)
    wrong = len(found & innocent)
    return right / len(planted), right / max(right + wrong, 1)
