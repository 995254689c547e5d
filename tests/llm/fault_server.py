"""A server that speaks chat completions (and Gemini's way) over real HTTP, and misbehaves on order.

Run as a process of its own; prints its port. What it does wrong is a JSON object of probabilities,
and which call meets which fault follows from the call's words, the attempt and the seed alone:

    python fault_server.py '{"seed": 1, "faults": {"429": 0.1, "drop": 0.05, "half_json": 0.05}}'

It groups the fenced documents of a prompt by their first word, so that every right answer is known.
GET /seen tells how often each question was asked and answered, and the most calls in flight; GET
/totals only how many calls there were, what they are charged with, and how many connections are
open, however many they are.

Settings: seed, faults (probabilities), script (faults of a question's first attempts, in order),
latency (s), retry_after (s), refuse ({"status", "words"}), refused_modes (response_format types),
offline (the stand-in answers), says and finish (one reply to everything), needs_room (tokens below
which a reply is cut off), together (calls that are in flight at once before any is answered), until
(calls that are answered; the others wait for a higher number), usage ("counted", "none", "random"),
prices (of a prompt's token, and of one written: what is "charged").
"""

import asyncio
import collections
import hashlib
import json
import math
import random
import sys
import time
from typing import Any

from synthdiv.llm.fences import unfence

HTTP_FAULTS = ("429", "500", "503", "drop", "half_body", "stall")
RAW_FAULTS = (  # a 200 that is no completion, or one with something else in its places
    *("html", "empty_body", "no_content", "brackets", "digits", "surrogate", "finish_object"),
    *("refusal_object", "usage_text", "no_usage", "zero_usage", "negative_usage", "huge_usage"),
    *("not_utf8", "message_list", "redirect"),
)
REPLY_FAULTS = ("half_json", "prose", "code", "wrong_types", "empty", "wrong_count", "cut_off")


def right_answer(message: str) -> dict[str, Any]:
    """What a good judge says: positions (from 1) of the documents, grouped by their first word."""
    groups: dict[str, list[int]] = {}
    for position, text in enumerate(unfence("document", message), 1):
        groups.setdefault(text.split()[0], []).append(position)
    return {"groups": [{"name": name, "indices": found} for name, found in groups.items()]}


class Server:
    """Counts what it is asked, by the words of the question."""

    connections = 0  # open ones, whatever is reset

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.faults: dict[str, float] = settings.get("faults", {})
        self.asked: collections.Counter[str] = collections.Counter()
        self.answered: collections.Counter[str] = collections.Counter()
        self.met: collections.Counter[str] = collections.Counter()
        self.in_flight = self.most_in_flight = 0
        self.enough = asyncio.Event()  # as many as are to be together
        self.keys: set[str] = set()
        self.last: dict[str, Any] = {}
        self.times: list[float] = []
        self.charged = 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, *lines = head.decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = request.split(" ")
                if not await self.respond(method, path, headers, body, writer):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections -= 1
            writer.close()

    async def respond(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answers one request; False if the connection is to be dropped."""
        if path == "/seen":
            seen = {
                "asked": self.asked,
                "answered": self.answered,
                "met": self.met,
                "most_in_flight": self.most_in_flight,
                "keys": sorted(self.keys),
                "last": self.last,
                "times": self.times,
                "charged": self.charged,
            }
            writer.write(_response(200, seen))
            return True
        if path == "/totals":
            totals = {
                "asked": self.asked.total(),
                "charged": self.charged,
                "connections": self.connections,
            }
            writer.write(_response(200, totals))
            return True
        if path == "/v1/models":
            writer.write(_response(200, {"data": [{"id": "test"}]}))
            return True
        if path == "/reset":
            self.__init__(json.loads(body))
            writer.write(_response(200, {}))
            return True
        if path == "/settings":
            self.settings |= json.loads(body)
            self.faults = self.settings.get("faults", {})
            writer.write(_response(200, {}))
            return True
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.in_flight >= self.settings.get("together", 0):
            self.enough.set()
        try:
            await self.enough.wait()
            return await self.complete(path, headers, json.loads(body), writer)
        finally:
            self.in_flight -= 1

    async def complete(
        self, path: str, headers: dict[str, str], body: dict[str, Any], out: asyncio.StreamWriter
    ) -> bool:
        gemini = ":generateContent" in path
        question = _question(body, gemini)
        self.keys.add(headers.get("x-goog-api-key") or headers.get("authorization", ""))
        self.asked[question] += 1
        self.last = body
        self.times.append(time.monotonic())
        number = len(self.times)
        while number > (self.settings.get("until") or math.inf):
            await asyncio.sleep(0.01)
        chance = random.Random(f"{self.settings.get('seed', 0)} {question} {self.asked[question]}")
        if refusal := self.settings.get("refuse"):
            words = refusal["words"] + " " + headers.get("authorization", "")
            error = {"error": {"message": words, "code": refusal.get("code")}}
            out.write(_response(refusal["status"], error))
            return True
        if refused := self._refused_mode(body):
            out.write(_response(400, {"error": {"message": refused}}))
            return True
        if (latency := self.settings.get("latency", 0)) > 0:
            await asyncio.sleep(latency * chance.uniform(0.5, 1.5))
        fault = self._fault(chance, self.asked[question])
        self.met[fault] += 1
        if fault in HTTP_FAULTS:
            if fault in ("half_body", "stall"):  # worked for, and never seen by who asked
                self.charge(body, "", self._usage(body, "", chance))
            return await self._fail(fault, headers.get("authorization", ""), out)
        content, finish = self._content(fault, await self._right(body, gemini), body)
        usage = self._usage(body, content, chance)
        self.charge(body, content, usage)
        if fault in RAW_FAULTS:
            return _malformed(fault, path, content, finish, usage, out)
        self.answered[question] += 1
        shape = _gemini_response if gemini else _chat_response
        out.write(_response(200, shape(content, finish, usage)))
        return True

    def charge(self, body: dict[str, Any], content: str, usage: tuple[int, int] | None) -> None:
        """Adds what a call costs, in tokens times the settings' prices."""
        prompt, written = usage or (len(str(body)) // 4, len(content) // 4)
        prices = self.settings.get("prices", (0, 0))
        self.charged += prompt * prices[0] + written * prices[1]

    def _refused_mode(self, body: dict[str, Any]) -> str | None:
        form = body.get("response_format", {}).get("type")
        if form in self.settings.get("refused_modes", ()):
            return f"response_format {form} is not supported by this model"
        return None

    def _fault(self, chance: random.Random, attempt: int) -> str:
        script = self.settings.get("script", [])
        if attempt <= len(script):
            return script[attempt - 1]
        drawn = chance.random()
        for fault, probability in self.faults.items():
            drawn -= probability
            if drawn < 0:
                return fault
        return "none"

    async def _fail(self, fault: str, key: str, out: asyncio.StreamWriter) -> bool:
        if fault == "stall":
            await asyncio.sleep(30)
            return False
        if fault == "drop":
            return False
        if fault == "half_body":
            whole = _response(200, _chat_response("{}", "stop", (10, 10)))
            out.write(whole[: len(whole) - 20])
            await out.drain()
            return False
        after = self.settings.get("retry_after", 0.05) if fault == "429" else None
        out.write(_response(int(fault), {"error": {"message": f"injected {fault} {key}"}}, after))
        return True

    async def _right(self, body: dict[str, Any], gemini: bool) -> str:
        """The reply without a fault."""
        if self.settings.get("offline"):
            from synthdiv.llm.backends.wire import call_of
            from synthdiv.offline.backend import OfflineBackend

            return (await OfflineBackend().complete(call_of(body))).text
        return json.dumps(right_answer(_first_words(body, gemini)))

    def _content(self, fault: str, text: str, body: dict[str, Any]) -> tuple[str, str]:
        if self.settings.get("says") is not None:
            return self.settings["says"], self.settings.get("finish", "stop")
        if fault == "half_json":
            return text[: len(text) // 2], "stop"
        if fault == "cut_off":
            return text[: len(text) // 3], "length"
        if fault == "prose":
            return f"Sure! Here are the groups you asked for: {text} I hope this helps.", "stop"
        if fault == "code":
            return f"<think>They look alike { {'a': 1} }</think>\n```json\n{text}\n```\n", "stop"
        if fault == "wrong_types":
            return json.dumps({"groups": [{"name": 7, "indices": "all of them"}]}), "stop"
        if fault == "empty":
            return "", "stop"
        if fault == "wrong_count":
            return json.dumps({"groups": json.loads(text)["groups"][:-1]}), "stop"
        room = self.settings.get("needs_room", 0)
        most = body.get("max_tokens") or body.get("max_completion_tokens") or room
        return (text, "stop") if most >= room else (text[: len(text) // 2], "length")

    def _usage(
        self, body: dict[str, Any], content: str, chance: random.Random
    ) -> tuple[int, int] | None:
        how = self.settings.get("usage", "counted")
        if how == "none":
            return None
        if how == "random":  # as much as the call could have taken, or less
            most = body.get("max_tokens") or body["max_completion_tokens"]
            sent = sum(len(m["content"].encode()) for m in body["messages"])
            return chance.randint(1, sent), chance.randint(1, most)
        return len(str(body)) // 4, len(content) // 4


def _question(body: dict[str, Any], gemini: bool) -> str:
    if gemini:
        shape = [body["contents"], body.get("generationConfig", {}).get("seed")]
    else:
        shape = [body["messages"], body.get("seed"), body.get("max_tokens")]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()


def _first_words(body: dict[str, Any], gemini: bool) -> str:
    if gemini:
        return body["contents"][0]["parts"][0]["text"]
    return next(m["content"] for m in body["messages"] if m["role"] == "user")


def _chat_response(content: str, finish: str, usage: tuple[int, int] | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    response: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if usage:
        prompt, written = usage
        response["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
        }
    return response


def _gemini_response(content: str, finish: str, usage: tuple[int, int] | None) -> dict[str, Any]:
    reasons = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
    candidate = {
        "content": {"role": "model", "parts": [{"text": content}]},
        "finishReason": reasons[finish],
        "index": 0,
    }
    response: dict[str, Any] = {"candidates": [candidate]}
    if usage:
        prompt, written = usage
        response["usageMetadata"] = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": written,
            "totalTokenCount": prompt + written,
        }
    return response


def _malformed(
    fault: str,
    path: str,
    content: str,
    finish: str,
    usage: tuple[int, int] | None,
    out: asyncio.StreamWriter,
) -> bool:
    """Sends a reply that is right but for one thing that no client expects."""
    reply = _chat_response(content, finish, usage)
    choice = reply["choices"][0]
    counts = {
        "usage_text": "many tokens",
        "zero_usage": {"prompt_tokens": 0, "completion_tokens": 0},
        "negative_usage": {"prompt_tokens": -(10**6), "completion_tokens": -(10**6)},
        "huge_usage": {"prompt_tokens": 10**30, "completion_tokens": 2**64},
        "no_usage": None,
    }
    if fault in counts:
        reply["usage"] = counts[fault]
    elif fault == "finish_object":
        choice["finish_reason"] = {"type": "stop"}
    elif fault == "refusal_object":
        choice["message"]["refusal"] = {"reason": ["no"]}
    elif fault == "message_list":
        choice["message"] = [choice["message"]]
    elif fault == "surrogate":
        choice["message"]["content"] += "\ud800"
    bodies = {
        "html": b"<html><body>Bad gateway</body></html>",
        "empty_body": b"",
        "no_content": b"",
        "brackets": b"[" * 100_000,
        "digits": b'{"choices": ' + b"9" * 5000 + b"}",
        "not_utf8": b'{"choices": "\xff\xfe"}',
        "redirect": b"",
    }
    status = {"no_content": 204, "redirect": 307}.get(fault, 200)
    where = f"Location: {path}?again\r\n" if fault == "redirect" else ""
    sent = bodies.get(fault, json.dumps(reply).encode())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{where}"
    out.write(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
    return True


def _response(status: int, body: object, retry_after: float | None = None) -> bytes:
    content = json.dumps(body).encode()
    after = f"Retry-After: {retry_after}\r\n" if retry_after is not None else ""
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{after}"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def main() -> None:
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    server = await asyncio.start_server(
        Server(settings).connection, "127.0.0.1", settings.get("port", 0), backlog=2048
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
