"""A language-model server on the loopback address, in its own process, for README's commands.

It speaks OpenAI's chat completions and Gemini's generateContent and answers with the offline
stand-in; what is tested is everything between the command line and the wire. Prints its port.
GET / tells how often each question was asked, GET /connections how many are open. An argument is
the seconds that an answer takes.
"""

import asyncio
import collections
import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from synthdiv.llm.backends.wire import call_of, completion_of
from synthdiv.llm.protocol import Answer, Call
from synthdiv.offline.backend import OfflineBackend

ASKED: collections.Counter[str] = collections.Counter()
LATENCY_S = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802  the name that http.server calls
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        gemini = ":generateContent" in self.path
        ASKED[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
        time.sleep(LATENCY_S)
        call = _gemini_call(body) if gemini else call_of(body)
        answer = asyncio.run(OfflineBackend().complete(call))
        reply = _gemini_reply(answer) if gemini else completion_of(answer, body["model"])
        self._send(reply)

    def do_GET(self) -> None:  # noqa: N802
        each_in_a_thread = threading.active_count() - 1
        self._send(each_in_a_thread if self.path == "/connections" else dict(ASKED))

    def _send(self, reply: object) -> None:
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _gemini_call(body: dict[str, Any]) -> Call:
    settings = body.get("generationConfig", {})
    messages = tuple(
        {"role": c.get("role", "user"), "content": "".join(p["text"] for p in c["parts"])}
        for c in body["contents"]
    )
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    return Call(messages, schema, settings.get("temperature", 1.0), 1.0, 4096, settings.get("seed"))


def _gemini_reply(answer: Answer) -> dict[str, Any]:
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": answer.text}]},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": answer.usage.input,
            "candidatesTokenCount": answer.usage.output,
            "totalTokenCount": answer.usage.input + answer.usage.output,
        },
    }


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 256  # with its 5, many at once are turned away
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    sys.stdout.close()
    server.serve_forever()
