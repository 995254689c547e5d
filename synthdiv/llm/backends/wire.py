"""The chat-completions format that OpenAI's servers, vLLM and most others speak, and batch files.

Also how a server is told the wanted JSON: by its own JSON mode where it has one, else in words.
"""

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from synthdiv.llm.money import likely_tokens
from synthdiv.llm.protocol import Answer, Call, Message, Permanent, Transient, Usage
from synthdiv.llm.structured import is_strict

_OVERLOADED = (429, 503, 529)
_EVERYWHERE = (401, 402, 403, 404)  # key, money, permission, model: the next call meets the same
_SHOWN = 2000  # characters of what is no completion; people are shown fewer, without keys


class JsonMode:
    """The strictest JSON mode that a server takes: found out once, from its first refusal.

    Args:
        mode: "schema", "object", "off", or "auto" to begin with the strictest.
    """

    _ORDER = ("schema", "object", "off")

    def __init__(self, mode: str) -> None:
        self._auto = mode == "auto"
        self.mode = self._ORDER[0] if mode == "auto" else mode

    def yields(self, words: str, asked_in: str) -> bool:
        """Steps down if a refusal is about JSON modes; True if the call may be tried again."""
        about = re.search(r"response_?format|json_?schema|json_?object|schema|grammar", words, re.I)
        if not self._auto or asked_in == "off" or not about:
            return False
        if self.mode == asked_in:  # else another call has stepped down already
            self.mode = self._ORDER[self._ORDER.index(asked_in) + 1]
        return True


def told_in_words(call: Call) -> tuple[Message, ...]:
    """Returns the messages with the schema added to the last one, for servers without a mode."""
    *before, last = call.messages
    schema = json.dumps(call.schema, ensure_ascii=False)
    content = (
        f"{last['content']}\n\nReply with one JSON object and nothing else. It must follow this"
        f" JSON schema:\n{schema}"
    )
    return (*before, {**last, "content": content})


def chat_body(
    call: Call, model: str, mode: str, hosted: bool, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the body of a chat-completions request.

    Args:
        call: what is asked.
        model: the model's name at the server.
        mode: one of JsonMode's.
        hosted: whether the server is OpenAI's own, whose newer models refuse `max_tokens` and any
            temperature but their own; other servers may know nothing else.
        extra: further parameters, which win.
    """
    messages = call.messages
    if call.schema is not None and mode != "schema":
        messages = told_in_words(call)
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m["role"], "content": m["content"]} for m in messages],
        "max_completion_tokens" if hosted else "max_tokens": call.max_tokens,
    }
    for name, value in (("temperature", call.temperature), ("top_p", call.top_p)):
        if not hosted or value != 1.0:  # 1 is what OpenAI's servers do unasked
            body[name] = value
    if call.seed is not None:
        body["seed"] = call.seed % 2**31
    if call.schema is not None and mode == "schema":
        body["response_format"] = _response_format(call.schema)
    elif call.schema is not None and mode == "object":
        body["response_format"] = {"type": "json_object"}
    return body | dict(extra or {})


_formats: dict[int, dict[str, Any]] = {}  # by the schema's id; a format keeps its schema alive


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as the parameter that wants it; a run has a few schemas and many calls."""
    known = _formats.get(id(schema))
    if known is None:
        if len(_formats) > 100:
            _formats.clear()
        name = re.sub(r"[^A-Za-z0-9_-]", "_", schema.get("title", "reply"))[:64]
        wanted = {"name": name, "schema": schema, "strict": is_strict(schema)}
        known = _formats[id(schema)] = {"type": "json_schema", "json_schema": wanted}
    return known


def call_of(body: Mapping[str, Any]) -> Call:
    """Returns the call that a request's body asks; `chat_body` in mode "schema", backwards."""
    asked = body.get("response_format") or {}
    return Call(
        messages=tuple(body["messages"]),
        schema=asked.get("json_schema", {}).get("schema"),
        temperature=float(body.get("temperature", 1.0)),
        top_p=float(body.get("top_p", 1.0)),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or 2048,
        seed=body.get("seed"),
    )


def body_of(content: bytes | str) -> Any:
    """Parses JSON that a server sent.

    Raises:
        Transient: it is none, or none that can be worked with: nested too deep, a number too long.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # ValueError: also bytes that are no UTF-8, endless digits
        raise Transient(f"not a chat completion: {content[:_SHOWN]!r}", lost=True) from None


def answer_of(body: Any) -> Answer:
    """Reads a chat completion, whatever a server put in its places.

    Raises:
        Transient: it is not one: the server or something before it broke off.
    """
    choice = _first(_in(body, "choices"))
    message = _in(choice, "message")
    text, refusal = _text_of(_in(message, "content")), _in(message, "refusal")
    finish = _in(choice, "finish_reason") or "stop"
    if text is None or not isinstance(message, dict) or not isinstance(finish, str):
        raise Transient(f"not a chat completion: {_shown(body)}", lost=True)
    if refusal or finish == "content_filter":
        finish, text = "refusal", (refusal if isinstance(refusal, str) else "") or text
        text = text or _shown(refusal or "")
    usage = _usage_of(_in(body, "usage"))
    if usage is None:
        written = likely_tokens(len(text.encode("utf-8", "replace")))
        return Answer(text, Usage(0, 0, written), finish, counted=False)
    return Answer(text, usage, finish)


def _in(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _text_of(content: Any) -> str | None:
    """A message's text, also where it comes in parts; None where it is no text."""
    if isinstance(content, list):
        parts = [_text_of(_in(part, "text")) for part in content]
        return None if None in parts else "".join(map(str, parts))
    return content if isinstance(content, str) else None if content else ""


def _usage_of(usage: Any) -> Usage | None:
    """A server's counts; None where any is missing or no number."""
    cached = _in(_in(usage, "prompt_tokens_details"), "cached_tokens") or 0
    counts = (_in(usage, "prompt_tokens"), cached, _in(usage, "completion_tokens"))
    return Usage(*counts) if all(type(count) is int for count in counts) else None


def _shown(body: Any) -> str:
    """The beginning of what a server sent, for people."""
    try:
        said = body if isinstance(body, str) else json.dumps(body)
    except (RecursionError, ValueError):
        said = type(body).__name__
    return said[:_SHOWN]


def completion_of(answer: Answer, model: str) -> dict[str, Any]:
    """Returns a chat completion that says `answer`; `answer_of`, backwards."""
    usage = answer.usage
    return {
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
        },
    }


def failure_of(
    status: int, words: str, headers: Mapping[str, str] | None = None, code: str | None = None
) -> Transient | Permanent:
    """Returns what an HTTP status means for a call.

    Args:
        status: the status code.
        words: what the server said.
        headers: with Retry-After, in seconds or as a date, or retry-after-ms.
        code: the server's own error code.
    """
    said = f"{status} {words}".strip()
    if status < 400:
        where = (headers or {}).get("location", "")
        return Permanent(
            f"{status}: a redirect{' to ' if where else ''}{where}, and none is followed; name the"
            " address of the server itself in `base_url`",
            everywhere=True,
        )
    if code == "insufficient_quota":  # comes as 429, and does not pass
        return Permanent(said, everywhere=True)
    if status in (408, 409, 425) or status == 429 or status >= 500:
        return Transient(said, status in _OVERLOADED, _retry_after(headers or {}))
    return Permanent(said, everywhere=status in _EVERYWHERE)


def _retry_after(headers: Mapping[str, str]) -> float:
    seconds = 0.0
    try:
        if (ms := headers.get("retry-after-ms")) is not None:
            seconds = float(ms) / 1000
        elif (after := headers.get("retry-after")) is not None:
            try:
                seconds = float(after)
            except ValueError:
                seconds = email.utils.parsedate_to_datetime(after).timestamp() - time.time()
    except (ValueError, OverflowError):
        pass
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
