"""The `openai` backend: any server that speaks OpenAI's chat completions, through the openai SDK.

vLLM, SGLang, llama.cpp, Ollama and OpenAI itself. The SDK sends; retries, limits and timeouts are
the session's, and replies are read as plain JSON, which is several times faster than the SDK's
typed objects.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

from synthdiv.errors import UserError
from synthdiv.llm.backends.wire import JsonMode, answer_of, chat_body, failure_of, scrubbed
from synthdiv.llm.protocol import Answer, Call, Permanent, Transient

if TYPE_CHECKING:
    from synthdiv.llm.session import LLMConfig

_OPENAI = "https://api.openai.com/v1"
_CONNECT_S = 15.0


class OpenAIBackend:
    """Sends calls to the server at `config.base_url`, or to OpenAI.

    Raises:
        UserError: there is no key for OpenAI itself. Other servers may go without.
    """

    name = "openai"

    def __init__(self, config: "LLMConfig") -> None:
        self.model = config.model or ""
        self._url = config.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
        self._hosted = "://api.openai.com" in self._url
        self._key = os.environ.get("OPENAI_API_KEY") or ("" if self._hosted else "none")
        if not self._key:
            raise UserError(
                "--llm=openai needs the key in the environment variable OPENAI_API_KEY, or another"
                " server in --base_url"
            )
        if not self._url.startswith(("http://", "https://")):
            raise UserError(
                f"--base_url={scrubbed(self._url)} is not a http:// or https:// address"
            )
        self._mode = JsonMode(config.json_mode)
        self._extra = config.extra
        self._connections = config.concurrency
        self._timeout = config.timeout
        self._client: Any = None

    async def complete(self, call: Call) -> Answer:
        """Sends one call; raises Transient or Permanent with the server's words."""
        while True:
            mode = self._mode.mode
            try:
                body = chat_body(call, self.model, mode, self._hosted, self._extra)
                return answer_of(await self._post(body))
            except Permanent as refusal:
                if call.schema is None or not self._mode.yields(str(refusal), mode):
                    raise

    async def _post(self, body: dict[str, Any]) -> Any:
        import openai

        if self._client is None:
            self._client = self._connect()
        try:
            return await self._client.post("/chat/completions", cast_to=object, body=body)
        except openai.APIStatusError as error:
            words = scrubbed(str(error.message), self._key)
            raise failure_of(error.status_code, words, error.response.headers, error.code) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            words = scrubbed(f"{type(cause).__name__} {cause}", self._key)
            reached = not any(w in type(cause).__name__ for w in ("Connect", "Pool"))
            where = scrubbed(self._url, self._key)
            raise Transient(f"no answer from {where}: {words}", lost=reached) from None
        except openai.OpenAIError as error:
            raise Transient(scrubbed(str(error), self._key), lost=True) from None

    def _connect(self) -> Any:
        import openai

        # The HTTP library that this version of the SDK is built on, httpx or its successor.
        http = sys.modules[openai.Timeout.__module__.partition(".")[0]]
        timeout = openai.Timeout(self._timeout, connect=min(_CONNECT_S, self._timeout))
        # The SDK keeps 100 connections alive by itself; with more calls than that in flight it
        # would open a new one for most of them.
        limits = http.Limits(
            max_connections=None, max_keepalive_connections=self._connections, keepalive_expiry=60
        )
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=timeout),
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def deferred(self) -> str | None:
        return None
