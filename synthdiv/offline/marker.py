"""The offline answer to "how good is this text?": counts of words, by no language model.

A stand-in so that judging runs without a network. It knows neither sense nor truth: what it calls
educational is plain prose with reasons and examples in it, and what it calls true to a source has
the source's numbers, names and words.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from synthdiv.curation.judging import EducationalValue, Factuality
from synthdiv.llm.fences import unfence

_TEACHES = re.compile(
    r"\b(because|therefore|for example|for instance|means|called|so that|if|when|which|thus|step|"
    r"first|then|consists|causes?|depends)\b",
    re.IGNORECASE,
)
_TELLING = re.compile(r"\b(?:[A-Z][a-z]{2,}|\d[\d.,]*\d|\d)\b")
_STAND_IN = "by a stand-in that counts words and is no language model"


def _texts(messages: Sequence[Mapping[str, str]], kind: str) -> str:
    asked = (message["content"] for message in messages if message["role"] == "user")
    return "\n".join(text for one in asked for text in unfence(kind, one))


def _quality(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    text = _texts(messages, "document")
    words = re.findall(r"\w+", text.lower())
    shares = (
        min(len(words) / 150, 1),  # long enough to explain something
        min(len(_TEACHES.findall(text)) / max(len(words) / 40, 1), 1),
        min(len(set(words)) / max(len(words), 1) / 0.5, 1),
        float(bool(re.search(r"[a-z]\.(\s|$)", text))),
    )
    mark = 1 + round(sum(shares))
    reason = f"{len(words)} words, {len(set(words))} of them different; {_STAND_IN}"
    return json.dumps({"reason": reason, "educational_value": mark})


def _factuality(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
    text, source = _texts(messages, "document"), _texts(messages, "source").lower()
    telling = sorted(set(_TELLING.findall(text)))
    missing = [word for word in telling if word.lower() not in source]
    share = 1 - len(missing) / max(len(telling), 1)
    reason = f"{share:.0%} of its names and numbers are in the source; {_STAND_IN}"
    mark = 1 + round(4 * share)
    told = {"not_in_the_source": missing[:10], "reason": reason, "factuality": mark}
    return json.dumps(told, ensure_ascii=False)


HANDLERS: dict[type[BaseModel], Any] = {EducationalValue: _quality, Factuality: _factuality}
