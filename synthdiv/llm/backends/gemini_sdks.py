"""The two SDKs behind the `gemini` backend, made to take a call and give an answer."""

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from synthdiv.llm.backends.wire import told_in_words
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.money import likely_tokens
from synthdiv.llm.protocol import Answer, Call, Transient, Usage

_REFUSALS = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR")


class Genai:
    """google-genai."""

    def __init__(self, config: LLMConfig, key: str) -> None:
        from google import genai
        from google.genai import types

        self._types, self._model = types, config.model or ""
        options = types.HttpOptions(
            base_url=config.base_url,
            timeout=round(config.timeout * 1000),
            # Without options of its own it sends a call again, uncounted, when a connection breaks.
            retry_options=types.HttpRetryOptions(attempts=1),
            client_args={"follow_redirects": False},
            async_client_args={"follow_redirects": False},
        )
        self._client: Any = genai.Client(api_key=key, vertexai=False, http_options=options)

    async def send(self, call: Call, mode: str) -> Any:
        """Sends a call in a JSON mode and returns the SDK's response."""
        system, contents = _contents(call, mode)
        config = self._types.GenerateContentConfig(
            system_instruction=system or None,
            temperature=call.temperature,
            top_p=call.top_p,
            max_output_tokens=call.max_tokens,
            seed=None if call.seed is None else call.seed % 2**31,
            response_mime_type=_mime_type(call, mode),
            response_json_schema=call.schema if mode == "schema" else None,
        )
        return await self._client.aio.models.generate_content(
            model=self._model, contents=contents, config=config
        )

    async def close(self) -> None:
        await self._client.aio.aclose()


class Retired:
    """google-generativeai, which is synchronous at heart and takes neither a seed nor a schema."""

    def __init__(self, config: LLMConfig, key: str) -> None:
        import google.generativeai as retired  # type: ignore[import-untyped]

        self._sdk, self._model, self._timeout = retired, config.model, config.timeout
        self._threads = ThreadPoolExecutor(config.concurrency, "synthdiv-gemini")
        retired.configure(
            api_key=key,
            transport="rest",
            client_options={"api_endpoint": config.base_url} if config.base_url else None,
        )

    async def send(self, call: Call, mode: str) -> Any:
        """Sends a call in a JSON mode and returns the SDK's response."""
        system, contents = _contents(call, "object" if mode == "schema" else mode)
        model = self._sdk.GenerativeModel(self._model, system_instruction=system or None)
        settings = {
            "temperature": call.temperature,
            "top_p": call.top_p,
            "max_output_tokens": call.max_tokens,
            "response_mime_type": _mime_type(call, mode) or "text/plain",
        }
        ask = functools.partial(
            model.generate_content,
            contents,
            generation_config=settings,
            request_options={"timeout": self._timeout, "retry": None},
        )
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _mime_type(call: Call, mode: str) -> str | None:
    return "application/json" if call.schema is not None and mode != "off" else None


def _contents(call: Call, mode: str) -> tuple[str, list[dict[str, Any]]]:
    """System instruction and turns; an assistant is a "model" here."""
    messages = call.messages
    if call.schema is not None and mode != "schema":
        messages = told_in_words(call)
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    turns = [
        {
            "role": "model" if m["role"] == "assistant" else "user",
            "parts": [{"text": m["content"]}],
        }
        for m in messages
        if m["role"] != "system"
    ]
    return system, turns


def answer_of(response: Any) -> Answer:
    """Reads a response of either SDK; they name the same fields."""
    candidates = list(response.candidates or [])
    if not candidates:
        blocked = getattr(response.prompt_feedback, "block_reason", None)
        if not blocked:
            raise Transient("a response without a candidate", lost=True)
        return Answer(f"blocked: {getattr(blocked, 'name', blocked)}", _usage(response), "refusal")
    content = candidates[0].content
    parts = (content.parts if content else None) or []
    text = "".join(part.text or "" for part in parts if not getattr(part, "thought", False))
    reason: str = getattr(candidates[0].finish_reason, "name", "STOP")
    finish = {"STOP": "stop", "MAX_TOKENS": "length"}.get(reason, reason.lower())
    if reason in _REFUSALS:
        finish, text = "refusal", text or reason.lower()
    if response.usage_metadata is None:
        written = likely_tokens(len(text.encode("utf-8", "replace")))
        return Answer(text, Usage(0, 0, written), finish, counted=False)
    return Answer(text, _usage(response), finish)


def _usage(response: Any) -> Usage:
    counts = response.usage_metadata
    written = getattr(counts, "candidates_token_count", 0) or 0
    thought = getattr(counts, "thoughts_token_count", 0) or 0
    return Usage(
        getattr(counts, "prompt_token_count", 0) or 0,
        getattr(counts, "cached_content_token_count", 0) or 0,
        written + thought,
    )
