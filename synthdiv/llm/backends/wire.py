"""The chat-completions format that OpenAI's servers, vLLM and most others speak, and batch files.

Also how a server is told the wanted JSON: by its own JSON mode where it has one, else in words.
"""

import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from synthdiv.llm.money import likely_tokens
from synthdiv.llm.protocol import Answer, Call, Message, Permanent, Transient, Usage
from synthdiv.llm.structured import is_strict

_OVERLOADED = (429, 503, 529)
_EVERYWHERE = (401, 402, 403, 404)  # key, money, permission, model: the next call meets the same
_LONGEST_WAIT_S = 600.0
_KEY_LIKE = re.compile(r"(?:\bBearer\s+|\bsk-|\bAIza|\bhf_)[\w*.\-]{6,}")
_USERINFO = re.compile(r"(https?://)[^/@\s]+@")


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


def answer_of(body: Any) -> Answer:
    """Reads a chat completion.

    Raises:
        Transient: it is not one: the server or something before it broke off.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if not isinstance(text, str):  # parts, as some servers have it
            text = "".join(part.get("text", "") for part in text)
        finish = choice.get("finish_reason") or "stop"
        refusal = message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        said = body if isinstance(body, str) else json.dumps(body)
        raise Transient(f"not a chat completion: {scrubbed(said)[:200]!r}", lost=True) from None
    if refusal or finish == "content_filter":
        finish, text = "refusal", refusal or text
    usage = body.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    prompt, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    counted = True
    if not (isinstance(prompt, int) and isinstance(written, int)):
        counted = False
        prompt, written = 0, likely_tokens(len(text.encode("utf-8", "replace")))
    return Answer(text, Usage(prompt, details.get("cached_tokens") or 0, written), finish, counted)


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
        words: what the server said, scrubbed.
        headers: with Retry-After, in seconds or as a date, or retry-after-ms.
        code: the server's own error code.
    """
    said = f"{status} {words}".strip()
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
    except ValueError:
        pass
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if seconds == seconds else 0.0


def scrubbed(words: str, *secrets: str | None) -> str:
    """Returns a server's words on one line, cut to a length one reads, without any key."""
    for secret in secrets:
        if secret and len(secret) >= 4:
            words = words.replace(secret, "***")
    words = _USERINFO.sub(r"\1***@", _KEY_LIKE.sub("***", words))
    words = " ".join(words.split())
    return words if len(words) <= 400 else words[:400] + "..."
