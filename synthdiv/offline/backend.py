"""The offline backend: a deterministic stand-in, so that everything runs without a network.

It is told what a server is told (messages, JSON schema, sampling) and answers with JSON text. The
schema's title, which a model would see too, says which handler answers. The same question with the
same seed always gets the same answer, in any process and on any machine.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.llm.config import LLMConfig
from synthdiv.llm.money import likely_tokens
from synthdiv.llm.protocol import Answer, Call, Message, Permanent, Usage

# Answers the messages of a chat with JSON of the given schema; another seed, another wording.
Handler = Callable[[Sequence[Message], Mapping[str, Any], int], str]

MODEL = "offline-stand-in (not an LLM)"


class OfflineBackend:
    """Answers with the handlers of judge.py and coder.py, writer.py, and marker.py."""

    name = "offline"
    model = MODEL

    def prepare(self) -> None:
        """Does nothing: there is nobody to reach."""

    async def complete(self, call: Call) -> Answer:
        """Answers at once; all the time that this takes is the processor's own.

        Raises:
            Permanent: no handler answers the schema.
        """
        schema = call.schema or {}
        title = schema.get("title", "a request without a schema")
        handler = handlers().get(title)
        if handler is None:
            raise Permanent(f"offline backend cannot answer {title}")
        text = handler(call.messages, schema, seed_of(call))
        prompt = sum(len(m["content"]) for m in call.messages)
        return Answer(text, Usage(likely_tokens(prompt), 0, likely_tokens(len(text))))

    async def close(self) -> None:
        """Does nothing: there is no connection."""

    def deferred(self) -> str | None:
        """Returns None: no answer is ever put off."""
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


@functools.cache
def handlers() -> dict[str, Handler]:
    """Returns the handlers by the titles of their schemas; loads them at the first question."""
    from synthdiv.llm.structured import wire_schema
    from synthdiv.offline import coder, judge, marker, writer

    by_schema = {**judge.HANDLERS, **coder.HANDLERS, **marker.HANDLERS}
    by_title = {wire_schema(schema)["title"]: handler for schema, handler in by_schema.items()}
    return by_title | writer.HANDLERS
