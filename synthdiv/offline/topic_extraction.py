"""The offline answer to "which topics does this page teach?": term counts, no language model.

The subject of a page's first sentence becomes the topic and its most telling terms the keywords;
the branch is the one whose own words, and the typical words of whose field, the page has most of.
That is coarse, but enough to run the `topics` command without a network.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from synthdiv.diversity.reading import commonness_weight
from synthdiv.llm.fences import unfence

# Words that are typical of a field, written down from general knowledge.
FIELDS: dict[str, str] = {
    "Natural Sciences": (
        "atom energy particle molecule species cell planet star acid element quantum chemical "
        "protein genus gas physics biology chemistry organism wave temperature experiment gene"
    ),
    "Mathematics and Computing": (
        "theorem number function algorithm software computer data program set graph equation "
        "matrix proof code polynomial integer logic network server processor"
    ),
    "Medicine and Health": (
        "disease patient symptoms treatment drug blood brain infection surgery health medical "
        "virus bone muscle vitamin therapy clinical diagnosis"
    ),
    "History and Politics": (
        "war king empire century battle president election government army treaty queen "
        "minister parliament revolution dynasty military party"
    ),
    "Places": (
        "city river population town village island mountain region lake district county border "
        "coast capital province located north south"
    ),
    "Arts and Entertainment": (
        "film album song novel painting band music actor poet theatre episode character "
        "released singer book director dance series"
    ),
    "Sports and Games": (
        "team season player league game coach championship cup football match score tournament "
        "goal race olympic club"
    ),
    "Society and Law": (
        "law court rights school university economy tax market education religion church "
        "language culture bank trade court money marriage"
    ),
    "Technology and Industry": (
        "engine aircraft ship railway machine steel electric vehicle bridge factory motor "
        "device fuel construction invented"
    ),
    "Food and Daily Life": (
        "recipe food cook kitchen dish house clothes garden dog cat family child mother toy "
        "bread meat fruit flavour"
    ),
}
_FIELD_OF = {word: field for field, words in FIELDS.items() for word in words.split()}
_SUBJECT = re.compile(
    r"^(?:The |A |An )?([\w'-]+(?: [\w'-]+){0,4}?)(?:,| \(| is | are | was | were )"
)


def extract_topics(
    messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int
) -> str:
    """Answers a prompt with a fenced page: one topic under a branch and its keywords, as JSON.

    Args:
        messages: the chat; the user's messages fence the branches and the page.
        schema: of the reply, which is always the same.
        seed: not used: a page has one answer.
    """
    text = "\n".join(message["content"] for message in messages if message["role"] == "user")
    branches = [
        line.split(" / ") for listed in unfence("branches", text) for line in listed.split("\n")
    ]
    topics = [topic for page in unfence("page", text) if (topic := _topic(page, branches))]
    return json.dumps({"topics": topics}, ensure_ascii=False)


def _topic(page: str, branches: Sequence[Sequence[str]]) -> dict[str, Any] | None:
    counts = Counter(re.findall(r"[a-z][a-z'-]{2,}", page.lower()))
    weight = {w: n * commonness_weight(w) for w, n in counts.items()}
    telling = [w for w in sorted(weight, key=lambda w: (-weight[w], w)) if weight[w] > 0]
    if len(telling) < 4:
        return None
    fields: Counter[str] = Counter()
    for word, count in counts.items():
        if field := _FIELD_OF.get(word) or _FIELD_OF.get(word.removesuffix("s")):
            fields[field] += count

    def fits(branch: Sequence[str]) -> float:
        own = Counter(w for level in branch for w in re.findall(r"[a-z]{4,}", level.lower()))
        typical = sum(
            n
            for field, n in fields.items()
            if set(re.findall(r"[a-z]{4,}", field.lower())) & set(own)
        )
        return typical + 3 * sum(counts[word] + counts[word.removesuffix("s")] for word in own)

    subject = _SUBJECT.match(page.strip())
    leaf = subject[1] if subject else " ".join(telling[:2])
    leaf = leaf[0].upper() + leaf[1:]
    apart = [w for w in telling if w not in leaf.lower()]
    branch = max(branches, key=fits)
    return {"path": [*branch, leaf.replace("/", " ")], "keywords": apart[:7]}
