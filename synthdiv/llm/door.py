"""The door through which a backend's words come in, whoever the backend is.

Behind it an answer is what `Answer` says: text that UTF-8 can hold, of a length that can be worked
with, without a key in it, and counts that can be true. An error's words are one line without a key.
"""

import dataclasses
import re

from synthdiv.json_lines import encodable
from synthdiv.llm.protocol import Answer, Backend, BackendError, Call, Transient, Usage
from synthdiv.llm.secrets import Secrets

LONGEST_REPLY = 4_000_000  # characters; nothing that is asked for here comes near it

_MOST_TOKENS = 10**8  # of one call; beyond it a count is a fault, and sums stay within 64 bits
_MOST_BYTES_A_TOKEN = 128  # the longest tokens of large vocabularies are runs of this many spaces
_WORD = re.compile(r"[\w.-]{1,64}")


class Door:
    """Asks a backend and lets in what can be used.

    Args:
        backend: who answers.
        secrets: what no text may show.
    """

    def __init__(self, backend: Backend, secrets: Secrets) -> None:
        self._backend, self._secrets = backend, secrets

    async def complete(self, call: Call) -> Answer:
        """Returns the backend's answer; raises what it raises, in words that can be shown."""
        try:
            answer = await self._backend.complete(call)
        except BackendError as error:
            error.args = (self._secrets.words(str(error)),)
            raise
        return self._admitted(call, answer)

    def _admitted(self, call: Call, answer: Answer) -> Answer:
        if len(answer.text) > LONGEST_REPLY:
            raise Transient(f"a reply of {len(answer.text):,} characters", lost=True)
        text = self._secrets.out_of(encodable(answer.text))
        word = answer.finish_reason
        return dataclasses.replace(
            answer,
            text=text,
            finish_reason=word if _WORD.fullmatch(word) else "other",
            counted=answer.counted and _possible(answer.usage, call, answer.text),
            usage=_within(answer.usage),
        )


def _possible(usage: Usage, call: Call, text: str) -> bool:
    """Whether a server's counts can be true: no fewer tokens than the texts take at the least."""
    sent = sum(len(message["content"]) for message in call.messages)
    return (
        0 <= usage.cached <= usage.input
        and max(1, sent // _MOST_BYTES_A_TOKEN) <= usage.input <= _MOST_TOKENS
        and -(-len(text) // _MOST_BYTES_A_TOKEN) <= usage.output <= _MOST_TOKENS
    )


def _within(usage: Usage) -> Usage:
    """Counts that can be added up and kept, whatever a server says."""
    prompt, cached, written = (
        min(max(count, 0), _MOST_TOKENS) for count in (usage.input, usage.cached, usage.output)
    )
    return Usage(prompt, min(cached, prompt), written)
