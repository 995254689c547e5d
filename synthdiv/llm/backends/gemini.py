"""The `gemini` backend: Google's models through google-genai.

Where only the retired google-generativeai is installed, that one is used, with a warning: it gets
no more fixes, and it holds protobuf below 6.
"""

import importlib.util
import os

from synthdiv.errors import UserError
from synthdiv.llm.backends.gemini_sdks import Genai, Retired, answer_of
from synthdiv.llm.backends.wire import JsonMode, failure_of
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.protocol import Again, Answer, Call, Permanent, Transient
from synthdiv.llm.secrets import check_key
from synthdiv.progress import say


class GeminiBackend:
    """Sends calls to Gemini; `config.base_url` may name a proxy."""

    name = "gemini"

    def __init__(self, config: LLMConfig) -> None:
        self.model = config.model or ""
        self._key = os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY") or ""
        self._mode = JsonMode(config.json_mode)
        self._config = config
        self._sdk: Genai | Retired | None = None

    def prepare(self) -> None:
        """Refuses to ask without a key or an SDK."""
        if not self._key:
            raise UserError(
                "`backend=gemini` needs the key in the environment variable GEMINI_API_KEY"
            )
        check_key("GEMINI_API_KEY", self._key)
        if not (_installed("google.genai") or _installed("google.generativeai")):
            raise UserError("`backend=gemini` needs google-genai: pip install 'synthdiv[gemini]'")

    async def complete(self, call: Call) -> Answer:
        """Sends one call; raises Transient, Permanent or Again with the server's words."""
        if self._sdk is None:
            self._sdk = self._connect()
        mode = self._mode.mode
        try:
            return await self._sent(self._sdk, call, mode)
        except Permanent as refusal:
            if call.schema is not None and self._mode.yields(str(refusal), mode):
                raise Again(str(refusal)) from None
            raise

    async def _sent(self, sdk: "Genai | Retired", call: Call, mode: str) -> Answer:
        try:
            return answer_of(await sdk.send(call, mode))
        except Exception as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Transient | Permanent:
        """Both SDKs, and three HTTP libraries below them, name faults in their own ways."""
        status = getattr(error, "code", None)  # a number, or the retired SDK's method or enum
        status = getattr(status, "value", status)
        words = str(getattr(error, "message", None) or error)
        if isinstance(status, int) and 300 <= status < 600:
            response = getattr(error, "response", None)
            headers = getattr(response, "headers", None)
            # An invalid key comes as 400 here.
            if status == 400 and "API key" in words:
                status = 401
            return failure_of(status, words, headers)
        library = type(error).__module__.partition(".")[0]
        if library in ("httpx", "httpx2", "httpcore", "aiohttp", "requests", "google"):
            name = type(error).__name__
            return Transient(f"{name} {words}".strip(), lost="Connect" not in name)
        # What else an SDK fails with, it fails with over a body that is not a response's.
        return Transient(f"{type(error).__name__} {words}".strip(), lost=True)

    def _connect(self) -> "Genai | Retired":
        if _installed("google.genai"):
            return Genai(self._config, self._key)
        say(
            "warning: google-generativeai is retired and gets no more fixes; install google-genai"
            " in its place (pip install 'synthdiv[gemini]')"
        )
        return Retired(self._config, self._key)

    async def close(self) -> None:
        if self._sdk is not None:
            await self._sdk.close()
            self._sdk = None

    def deferred(self) -> str | None:
        return None


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
