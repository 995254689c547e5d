"""The offline backend: a deterministic stand-in, so that everything runs without a network.

It is told what a server is told (messages, JSON schema, sampling) and answers with JSON text. Which
handler answers is told by the schema's title, as a model would see it in its prompt. The same
question with the same seed always gets the same answer, in any process and on any machine.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.llm.config import LLMConfig
from synthdiv.llm.money import likely_tokens
from synthdiv.llm.protocol import Answer, Call, Message, Permanent, Usage

Handler = Callable[[Sequence[Message], Mapping[str, Any], int], str]

MODEL = "offline-stand-in (not an LLM)"


class OfflineBackend:
    """Answers with the handlers of judge.py (diversity) and writer.py (generation)."""

    name = "offline"
    model = MODEL

    async def complete(self, call: Call) -> Answer:
        """Answers at once; what takes time here is the processor's own work.

        Raises:
            Permanent: no handler answers the schema.
        """
        title = (call.schema or {}).get("title", "a request without a schema")
        handler = _handlers().get(title)
        if handler is None:
            raise Permanent(f"offline backend cannot answer {title}")
        text = handler(call.messages, call.schema, seed_of(call))
        prompt = sum(len(m["content"]) for m in call.messages)
        return Answer(text, Usage(likely_tokens(prompt), 0, likely_tokens(len(text))))

    async def close(self) -> None:
        pass

    def deferred(self) -> str | None:
        return None


def seed_of(call: Call) -> int:
    """Returns the seed of an answer: a hash of the question and its own seed."""
    asked = [
        (call.schema or {}).get("title"),
        call.seed,
        call.temperature,
        [[m["role"], m["content"]] for m in call.messages],
    ]
    return int.from_bytes(hashlib.sha256(json.dumps(asked).encode()).digest()[:8], "big")


def make_backend(config: LLMConfig, directory: Path | None) -> OfflineBackend:
    """Makes the backend; it needs no settings and writes no files."""
    return OfflineBackend()


_known: dict[str, Handler] = {}


def _handlers() -> dict[str, Handler]:
    """The handlers of both rooms, imported at the first question."""
    if not _known:
        from synthdiv.offline import judge, writer

        _known.update(judge.HANDLERS)
        _known.update(writer.HANDLERS)
    return _known
