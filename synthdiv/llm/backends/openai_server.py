"""One server that speaks OpenAI's chat completions: its connections, and what its errors say."""

import asyncio
import sys
from typing import Any

from synthdiv.llm.backends.diagnosis import diagnose
from synthdiv.llm.backends.wire import JsonMode, failure_of
from synthdiv.llm.protocol import Permanent, Transient
from synthdiv.llm.secrets import without_password

_CONNECT_S = 15.0
_CHECK_S = (1.0, 30.0)  # between looks at a server that has failed: at first, and at most

# Connections of one client. Its pool looks at every idle connection before every call, so that
# 256 in one pool would cost more than all the rest of a call; a few small pools cost nothing.
_CONNECTIONS = 8


class Server:
    """Takes calls, a few to a client.

    Args:
        url: its address.
        key: for it, or any word where it asks for none.
        model: what calls name.
        timeout: seconds for one call.
        json_mode: as in LLMConfig.

    Attributes:
        in_flight: calls.
        mode: how it is told a schema.
    """

    def __init__(self, url: str, key: str, model: str, timeout: float, json_mode: str) -> None:
        self.url, self.mode, self.in_flight = url, JsonMode(json_mode), 0
        self._key, self._model, self._timeout = key, model, timeout
        self._clients: list[Any] = []
        self._busy: list[int] = []  # calls in flight of each client
        self._tls: Any = None
        self._response: Any = None  # the HTTP library's class
        self._diagnosed: asyncio.Task[str | None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._wait = _CHECK_S[0]

    @property
    def aside(self) -> bool:
        """Whether it has failed and not answered since."""
        return self._checking is not None

    def set_aside(self) -> None:
        """Has it looked at now and then, until it answers."""
        if self._checking is None:
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        import openai

        while True:
            await asyncio.sleep(self._wait)
            # Longer each time until it answers a call: it may list its models and still fail.
            self._wait = min(2 * self._wait, _CHECK_S[1])
            try:
                asked = self._client(0).with_options(timeout=_CONNECT_S)
                await asked.get("/models", cast_to=object)
                break
            except openai.APIStatusError as error:
                if error.status_code < 500:  # it has no such list, and it is there
                    break
            except openai.OpenAIError:
                pass
        self._checking = None

    async def post(self, body: dict[str, Any]) -> bytes:
        """Sends one call and returns the reply unread; raises Transient or Permanent."""
        import openai

        place = next((i for i, busy in enumerate(self._busy) if busy < _CONNECTIONS), None)
        if place is None:
            place = len(self._busy)
            self._busy.append(0)
        client = self._client(place)
        self._busy[place] += 1
        self.in_flight += 1
        try:
            # Unread: the SDK fails in ways of its own where it is no completion.
            answer = await client.post("/chat/completions", cast_to=self._response, body=body)
            self._wait = _CHECK_S[0]
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
            where = without_password(self.url)
            raise Transient(
                f"no answer from {where}: {words}", lost=reached, reached=reached
            ) from None
        except openai.OpenAIError as error:
            raise Transient(str(error), lost=True) from None
        finally:
            self._busy[place] -= 1
            self.in_flight -= 1

    async def _diagnosis(self) -> str | None:
        """What is wrong with the address or the model's name; found out once."""
        if self._diagnosed is None:
            asking = diagnose(self._client(0), self.url, self._model)
            self._diagnosed = asyncio.create_task(asking)
        return await asyncio.shield(self._diagnosed)

    def _client(self, place: int) -> Any:
        while len(self._clients) <= place:
            self._clients.append(self._connect())
        return self._clients[place]

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
            base_url=self.url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=limits, timeout=timeout, verify=self._tls, follow_redirects=False
            ),
        )

    async def close(self) -> None:
        """Gives connections back."""
        if self._checking is not None:
            self._checking.cancel()
        for client in self._clients:
            await client.close()
        self._clients.clear()
        self._busy.clear()


def _words_of(error: Any) -> str:
    """The server's own words, which the SDK wraps into some of its own."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("error", body)
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return body["message"]
    return str(body or error.message)
