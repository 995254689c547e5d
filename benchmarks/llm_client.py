"""How many calls a second the session makes, beside the bare openai SDK, against a static server.

    python benchmarks/llm_client.py [--calls=4000] [--concurrency=256] [--memory_calls=200000]

Both ask the same server (nginx with a canned chat completion if it is installed, else a small one
of ours) in one process each, in turns. The SDK runs a plain gather under a semaphore and keeps only
the text; the session keeps every answer in its store, validates it against a schema and obeys
limits. distilabel's client is measured too where it is installed; curator's is not. CPU time is the
client's process alone, its start and warm-up included. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from synthdiv.llm import LLMConfig, Request, Sampling, open_session

PROMPT = "Group these ten documents by what they are about. " * 40


class Group(BaseModel):
    name: str
    reason: str
    indices: list[int]


class Groups(BaseModel):
    groups: list[Group]


REPLY = json.dumps(
    {
        "groups": [
            {"name": f"group {i}", "reason": "They are about the same thing. " * 3, "indices": [i]}
            for i in range(1, 11)
        ]
    }
)
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "static",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": REPLY},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 500, "completion_tokens": 300, "total_tokens": 800},
    }
)

_NGINX = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {directory}/body;
  default_type application/json; client_max_body_size 10m;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {directory};
    location /v1/ {{ error_page 405 =200 /completion.json; try_files /completion.json =404; }}
    location = /completion.json {{ internal; }}
  }}
}}
"""


@contextlib.contextmanager
def static_server() -> Iterator[tuple[str, str]]:
    """Serves the canned completion; yields the base URL and the server's name."""
    with tempfile.TemporaryDirectory() as directory, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
        if nginx:
            os.chmod(directory, 0o755)  # its worker is another user
            (Path(directory) / "completion.json").write_text(COMPLETION)
            settings = Path(directory) / "nginx.conf"
            settings.write_text(_NGINX.format(directory=directory, port=port))
            command = [nginx, "-c", str(settings), "-e", f"{directory}/error.log"]
        else:
            command = [sys.executable, __file__, "--serve", str(port)]
        server = subprocess.Popen(command)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}/v1", "nginx" if nginx else "asyncio"
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit("the static server did not start")


async def _serve(port: int) -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    response = f"{head}Content-Length: {len(COMPLETION)}\r\n\r\n{COMPLETION}".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(request.split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(response)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def bare_sdk(url: str, calls: int, concurrency: int) -> float:
    """Calls a second of the openai SDK in a plain gather."""
    import openai

    async def run() -> float:
        client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
        slots = asyncio.Semaphore(concurrency)

        async def one(number: int) -> str:
            async with slots:
                completion = await client.chat.completions.create(
                    model="static",
                    messages=[{"role": "user", "content": f"{number} {PROMPT}"}],
                    max_tokens=1024,
                    temperature=1.0,
                )
            return completion.choices[0].message.content or ""

        await asyncio.gather(*(one(-i) for i in range(concurrency)))
        start = time.perf_counter()
        texts = await asyncio.gather(*(one(i) for i in range(calls)))
        seconds = time.perf_counter() - start
        assert all(texts)
        await client.close()
        return calls / seconds

    return asyncio.run(run())


def requests(count: int, first: int = 0) -> Iterator[Request]:
    for number in range(first, first + count):
        message = {"role": "user", "content": f"{number} {PROMPT}"}
        yield Request((message,), Groups, Sampling(max_tokens=1024), "benchmark")


def session(url: str, calls: int, concurrency: int) -> float:
    """Calls a second of the session: store, validation and limits on."""
    config = LLMConfig(
        backend="openai",
        model="static",
        base_url=url,
        concurrency=concurrency,
        max_calls=calls + concurrency,
        requests_per_minute=6e6,
        tokens_per_minute=6e9,
    )
    with (
        tempfile.TemporaryDirectory() as directory,
        open_session(config, Path(directory) / "answers.sqlite") as asking,
    ):
        asking.ask_all(list(requests(concurrency, -concurrency)))
        start = time.perf_counter()
        replies = asking.ask_all(list(requests(calls)))
        seconds = time.perf_counter() - start
        assert all(reply.failure is None and reply.value for reply in replies)
    return calls / seconds


def distilabel(url: str, calls: int, concurrency: int) -> float | None:
    """Calls a second of distilabel's OpenAI client, or None where it is not installed."""
    if importlib.util.find_spec("distilabel") is None:
        return None
    from distilabel.models import OpenAILLM

    llm = OpenAILLM(model="static", base_url=url, api_key="none")
    llm.load()
    inputs = [[{"role": "user", "content": f"{number} {PROMPT}"}] for number in range(calls)]
    start = time.perf_counter()
    for i in range(0, calls, concurrency):
        llm.generate_outputs(inputs=inputs[i : i + concurrency], max_new_tokens=1024)
    return calls / (time.perf_counter() - start)


def memory(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """Resident memory, in MiB, along a stream of many calls."""
    config = LLMConfig(backend="openai", model="static", base_url=url, concurrency=concurrency)
    measured: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as directory,
        open_session(config, Path(directory) / "answers.sqlite") as asking,
    ):
        marks = [calls * share // 10 for share in (1, 3, 5, 7, 9)]
        start = time.perf_counter()
        for count, (_, reply) in enumerate(asking.map(asking.ask, requests(calls)), 1):
            assert reply.failure is None
            if count in marks:
                measured[f"after {count}"] = round(_resident(), 1)
        measured["after all"] = round(_resident(), 1)
        measured["peak"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
        measured["calls_per_second"] = round(calls / (time.perf_counter() - start), 1)
    return measured


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory_calls", type=int, default=0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        asyncio.run(_serve(flags.serve))
        return
    clients: dict[str, Callable[[str, int, int], float | None]] = {
        "bare openai SDK": bare_sdk,
        "synthdiv session": session,
        "distilabel": distilabel,
    }
    figures: dict[str, list[float]] = {name: [] for name in clients}
    cpu_ms: dict[str, list[float]] = {name: [] for name in clients}
    with static_server() as (url, server):
        for _ in range(flags.turns):
            for name, client in clients.items():
                before = time.process_time()
                rate = client(url, flags.calls, flags.concurrency)
                if rate is not None:
                    figures[name].append(round(rate, 1))
                    cpu_ms[name].append((time.process_time() - before) * 1000 / flags.calls)
        result: dict[str, object] = {
            "server": server,
            "calls": flags.calls,
            "concurrency": flags.concurrency,
            "calls_per_second": {
                name: {"median": statistics.median(rates), "turns": rates}
                for name, rates in figures.items()
                if rates
            },
            "cpu_ms_per_call": {
                name: round(statistics.median(spent), 2) for name, spent in cpu_ms.items() if spent
            },
            "not_measured": [name for name, rates in figures.items() if not rates] + ["curator"],
        }
        ratios = [
            ours / theirs
            for ours, theirs in zip(
                figures["synthdiv session"], figures["bare openai SDK"], strict=True
            )
        ]
        result["session_over_bare_sdk"] = round(statistics.median(ratios), 3)
        if flags.memory_calls:
            result["resident_mib"] = memory(url, flags.memory_calls, flags.concurrency)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
