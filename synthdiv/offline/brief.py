"""Replies of the offline judge without the reasons that a brief schema does not have."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def brief(handler: Callable[..., str]) -> Callable[..., str]:
    """The same handler with every reason left out of its reply."""

    def answer(messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], seed: int) -> str:
        return json.dumps(_without_reasons(json.loads(handler(messages, schema, seed))))

    return answer


def _without_reasons(reply: Any) -> Any:
    if isinstance(reply, dict):
        return {k: _without_reasons(v) for k, v in reply.items() if k != "reason"}
    if isinstance(reply, list):
        return [_without_reasons(entry) for entry in reply]
    return reply
