"""The `openai` backend: any server that speaks OpenAI's chat completions, through the openai SDK.

vLLM, SGLang, llama.cpp, Ollama and OpenAI itself; several servers of one model share the calls. The
SDK sends; retries, limits and timeouts are the session's, and replies are read as plain JSON, which
is several times faster than the SDK's typed objects.
"""

import asyncio
import os
import time

from synthdiv.errors import UserError
from synthdiv.llm.backends.openai_server import Server
from synthdiv.llm.backends.wire import answer_of, body_of, chat_body
from synthdiv.llm.config import LLMConfig, check_url, urls_of
from synthdiv.llm.protocol import Again, Answer, Call, Permanent, Transient
from synthdiv.llm.secrets import check_key

_OPENAI = "https://api.openai.com/v1"


class OpenAIBackend:
    """Sends calls to the servers at `config.base_url`, or to OpenAI."""

    name = "openai"

    def __init__(self, config: LLMConfig) -> None:
        self.model = config.model or ""
        urls = urls_of(config.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI)
        for url in urls:
            check_url(url)
        self._hosted = any("://api.openai.com" in url for url in urls)
        self._key = os.environ.get("OPENAI_API_KEY") or ("" if self._hosted else "none")
        self._extra, self._timeout = config.extra, config.timeout
        self._servers = [
            Server(url, self._key, self.model, config.timeout, config.json_mode) for url in urls
        ]

    def prepare(self) -> None:
        """Refuses to ask OpenAI itself without a key. Other servers may go without."""
        if not self._key:
            raise UserError(
                "`backend=openai` needs the key in the environment variable OPENAI_API_KEY, or"
                " another server in `base_url`"
            )
        check_key("OPENAI_API_KEY", self._key)

    async def complete(self, call: Call) -> Answer:
        """Sends one call; raises Transient, Permanent or Again with the server's words."""
        server = self._server()
        mode, began = server.mode.mode, time.monotonic()
        try:
            body = chat_body(call, self.model, mode, self._hosted, self._extra)
            return answer_of(body_of(await server.post(body)))
        except Permanent as refusal:
            if call.schema is not None and server.mode.yields(str(refusal), mode):
                raise Again(str(refusal)) from None
            raise
        except Transient as failure:
            if not failure.overloaded:
                server.set_aside()
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began > 0.9 * self._timeout:  # given up for want of an answer
                server.set_aside()
            raise

    def _server(self) -> Server:
        """The one with the fewest calls in flight, of those that have not failed if there are."""
        return min(self._servers, key=lambda server: (server.aside, server.in_flight))

    async def close(self) -> None:
        for server in self._servers:
            await server.close()

    def deferred(self) -> str | None:
        return None
