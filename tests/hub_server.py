"""A Hugging Face hub on the loopback address, in a process of its own.

    python tests/hub_server.py FOLDER

prints its address. FOLDER/models/ORG/NAME and FOLDER/datasets/ORG/NAME are the repositories; what
is asked of it goes to FOLDER/requests.txt. It speaks the part of the hub's HTTP interface with
which `huggingface_hub` and `datasets` find and fetch files.
"""

import hashlib
import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_COMMIT = "5" * 40


def _handler(root: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *arguments: Any) -> None:
            with (root / "requests.txt").open("a") as log:
                log.write(format % arguments + "\n")

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            parts = path.strip("/").split("/")
            if parts[0] == "api" and len(parts) >= 4:
                self._describe(root / "/".join(parts[1:4]), parts[2:4], parts[4:], body)
            elif "resolve" in parts:
                kind = [] if parts[0] == "datasets" else ["models"]
                at = parts.index("resolve")
                self._file(root.joinpath(*kind, *parts[:at], *parts[at + 2 :]))
            else:
                self._send(404, b'{"error": "not found"}')

        def _describe(self, place: Path, name: list[str], rest: list[str], body: bytes) -> None:
            if not place.is_dir():
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            files = sorted(p for p in place.rglob("*") if p.is_file())
            entries = [
                {
                    "type": "file",
                    "path": str(p.relative_to(place)),
                    "size": p.stat().st_size,
                    "oid": hashlib.sha1(p.read_bytes()).hexdigest(),
                }
                for p in files
            ]
            folders = sorted({str(p.parent.relative_to(place)) for p in files} - {"."})
            tree = entries + [{"type": "directory", "path": f, "oid": "0" * 40} for f in folders]
            if rest[:1] == ["tree"]:
                within = "/".join(rest[2:])
                inside = [e for e in tree if not within or e["path"].startswith(within + "/")]
                if within and not inside:
                    self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                    return
                self._json(inside)
            elif rest[:1] == ["paths-info"]:
                form = urllib.parse.parse_qs(body.decode())
                asked = form.get("paths") or json.loads(body or b"{}").get("paths", [])
                self._json([e for e in tree if e["path"] in asked])
            else:
                self._json(
                    {
                        "id": "/".join(name),
                        "_id": "/".join(name),
                        "sha": _COMMIT,
                        "private": False,
                        "gated": False,
                        "disabled": False,
                        "downloads": 0,
                        "likes": 0,
                        "tags": [],
                        "lastModified": "2026-01-01T00:00:00.000Z",
                        "siblings": [{"rfilename": e["path"]} for e in entries],
                    }
                )

        def _file(self, place: Path) -> None:
            if not place.is_file():
                self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _COMMIT})
                return
            content = place.read_bytes()
            tag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": _COMMIT}
            span = self.headers.get("Range")
            if span:
                first, _, last = span.removeprefix("bytes=").partition("-")
                end = min(int(last) if last else len(content) - 1, len(content) - 1)
                tag["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
                self._send(206, content[int(first) : end + 1], tag)
            else:
                self._send(200, content, tag)

        def _json(self, content: Any) -> None:
            self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Path(sys.argv[1])))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
