"""An S3-compatible server on the loopback address, and a hostile proxy in front of it.

    python -m tests.storage.server

prints the address of the server (moto's) and of the proxy. What the proxy does to a share of the
requests is said by `PUT PROXY/--faults` with JSON: `busy` (503, not handed on), `lost` (handed on,
and then 503), `cut` (half of the answer, then the connection's end), `flip` (an answer with one
byte changed), `slow` (a pause of `pause_s` in the middle of an answer). `GET PROXY/--faults` tells
how often each was done, and all requests that were made.
"""

import http.client
import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_KINDS = ("busy", "lost", "cut", "flip", "slow")
_BUSY = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>'
)


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind = ""
    faults: dict[str, float] = {}
    done: Counter[str] = Counter()
    chance = random.Random(0)
    guard = threading.Lock()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _serve(self) -> None:
        body = self._body()
        if self.path == "/--faults":
            self._told(body)
            return
        with self.guard:
            drawn = self.chance.random()
            fault = ""
            for kind in _KINDS:
                drawn -= self.faults.get(kind, 0.0)
                if drawn < 0 and not fault:
                    fault = kind
            self.done[fault or "none"] += 1
        if fault == "busy":
            self._answer(503, {"Content-Type": "application/xml"}, _BUSY)
            return
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        if "Content-Length" not in headers and body:
            headers["Content-Length"] = str(len(body))
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lost":
            self._answer(503, {"Content-Type": "application/xml"}, _BUSY)
            return
        if fault == "flip" and content and self.command == "GET":
            place = len(content) // 2
            content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        self._answer(answer.status, dict(answer.getheaders()), content, fault)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, fault: str = ""
    ) -> None:
        self.send_response(status)
        hop = ("connection", "transfer-encoding", "server", "date")
        length = headers.get("Content-Length", headers.get("content-length"))
        for name, value in headers.items():
            if name.lower() not in (*hop, "content-length"):
                self.send_header(name, value)
        head = self.command == "HEAD"
        self.send_header("Content-Length", length if head and length else str(len(content)))
        self.end_headers()
        if head:
            return
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        if fault == "cut":
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(self.faults.get("pause_s", 1.0))
        self.wfile.write(content[half:])

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _told(self, body: bytes) -> None:
        if self.command == "PUT":
            type(self).faults = json.loads(body)
            self.done.clear()
        self._answer(200, {}, json.dumps(self.done).encode())


def main() -> None:
    """Serves until the process is ended."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    _Proxy.behind = f"{host}:{port}"
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.daemon_threads = True
    print(f"http://{host}:{port}", f"http://127.0.0.1:{proxy.server_port}", flush=True)
    proxy.serve_forever()


if __name__ == "__main__":
    main()
