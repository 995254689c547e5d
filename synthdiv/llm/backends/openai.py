"""The `openai` backend: any server that speaks OpenAI's chat completions, through the openai SDK.

vLLM, SGLang, llama.cpp, Ollama and OpenAI itself. The SDK sends; retries, limits and timeouts are
the session's, and replies are read as plain JSON, which is several times faster than the SDK's
typed objects.
"""

import asyncio
import os
import sys
from typing import Any

from synthdiv.errors import UserError
from synthdiv.llm.backends.diagnosis import diagnose
from synthdiv.llm.backends.wire import JsonMode, answer_of, body_of, chat_body, failure_of
from synthdiv.llm.config import LLMConfig, check_url
from synthdiv.llm.protocol import Again, Answer, Call, Permanent, Transient
from synthdiv.llm.secrets import check_key, without_password

_OPENAI = "https://api.openai.com/v1"
_CONNECT_S = 15.0

# Connections of one client. Its pool looks at every idle connection before every call, so that
# 256 in one pool would cost more than all the rest of a call; a few small pools cost nothing.
_CONNECTIONS = 8


class OpenAIBackend:
    """Sends calls to the server at `config.base_url`, or to OpenAI."""

    name = "openai"

    def __init__(self, config: LLMConfig) -> None:
        self.model = config.model or ""
        self._url = config.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
        self._hosted = "://api.openai.com" in self._url
        self._key = os.environ.get("OPENAI_API_KEY") or ("" if self._hosted else "none")
        check_url(self._url)
        self._mode = JsonMode(config.json_mode)
        self._extra = config.extra
        self._timeout = config.timeout
        self._clients: list[Any] = []
        self._busy: list[int] = []  # calls in flight of each client
        self._tls: Any = None
        self._response: Any = None  # the HTTP library's class
        self._diagnosed: asyncio.Task[str | None] | None = None

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
        mode = self._mode.mode
        try:
            body = chat_body(call, self.model, mode, self._hosted, self._extra)
            return answer_of(body_of(await self._post(body)))
        except Permanent as refusal:
            if call.schema is not None and self._mode.yields(str(refusal), mode):
                raise Again(str(refusal)) from None
            raise

    async def _post(self, body: dict[str, Any]) -> bytes:
        import openai

        place = next((i for i, busy in enumerate(self._busy) if busy < _CONNECTIONS), None)
        if place is None:
            place = len(self._clients)
            self._clients.append(self._connect())
            self._busy.append(0)
        self._busy[place] += 1
        try:
            # Unread: the SDK fails in ways of its own where it is no completion.
            answer = await self._clients[place].post(
                "/chat/completions", cast_to=self._response, body=body
            )
            return answer.content
        except openai.APIStatusError as error:
            words = _words_of(error)
            if error.status_code in (404, 405) and (why := await self._diagnosis()):
                refusal = f"{error.status_code} {words}; {why}"
                raise Permanent(refusal, everywhere=True) from None
            raise failure_of(error.status_code, words, error.response.headers, error.code) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            words = f"{type(cause).__name__} {cause}"
            reached = not any(w in type(cause).__name__ for w in ("Connect", "Pool"))
            where = without_password(self._url)
            raise Transient(
                f"no answer from {where}: {words}", lost=reached, reached=reached
            ) from None
        except openai.OpenAIError as error:
            raise Transient(str(error), lost=True) from None
        finally:
            self._busy[place] -= 1

    async def _diagnosis(self) -> str | None:
        """What is wrong with the address or the model's name; found out once."""
        if self._diagnosed is None:
            asking = diagnose(self._clients[0], self._url, self.model)
            self._diagnosed = asyncio.create_task(asking)
        return await asyncio.shield(self._diagnosed)

    def _connect(self) -> Any:
        import openai

        # The HTTP library that this version of the SDK is built on, httpx or its successor.
        loaded = (sys.modules.get(name) for name in ("httpx2", "httpx"))
        http: Any = next(m for m in loaded if m and m.Timeout is openai.Timeout)
        timeout = openai.Timeout(self._timeout, connect=min(_CONNECT_S, self._timeout))
        limits = http.Limits(
            max_connections=None, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=60
        )
        self._response = http.Response
        if self._tls is None:
            self._tls = http.create_ssl_context()
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=limits, timeout=timeout, verify=self._tls, follow_redirects=False
            ),
        )

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        self._clients.clear()
        self._busy.clear()

    def deferred(self) -> str | None:
        return None


def _words_of(error: Any) -> str:
    """The server's own words, which the SDK wraps into some of its own."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("error", body)
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return body["message"]
    return str(body or error.message)
