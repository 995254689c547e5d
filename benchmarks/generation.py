"""How many documents a second `generate` writes through a server, beside the bare openai SDK.

    python benchmarks/generation.py [--documents=20000] [--concurrency=256] [--kills=20]

A server on the loopback address, in a process of its own, answers every request after 50 ms with
what the offline writer says to it, worked out beforehand. In turns, each in a process of its own:
the SDK sends the same messages in a plain gather and writes the replies to a file; `generate`
plans, asks, validates, keeps every answer, and writes shards. With --kills the command is then
killed with SIGKILL so many times, at random moments, and goes on. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import pickle
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import parquet

from synthdiv import files
from synthdiv.config import find
from synthdiv.generation import CorpusPlan, GenerateConfig, read_topics
from synthdiv.llm.backends.wire import completion_of
from synthdiv.llm.protocol import Call
from synthdiv.llm.structured import wire_schema
from synthdiv.offline.backend import OfflineBackend

TOPICS = "configs/topics/seeds.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--family", default="topic_styles_persona")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that a reply takes")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--part", choices=["prepare", "server", "sdk"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "prepare":
        prepare(options, options.directory)
    elif options.part == "server":
        asyncio.run(serve(options.directory, options.latency))
    elif options.part == "sdk":
        asyncio.run(bare_sdk(options))
    else:
        print(json.dumps(measure(options), indent=2))


def measure(options: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        again = [sys.executable, __file__, f"--documents={options.documents}"]
        again += [f"--concurrency={options.concurrency}", f"--directory={directory}"]
        again += [f"--family={options.family}"]
        # In a process of its own: what this one holds would count as memory of those it starts.
        subprocess.run([*again, "--part=prepare"], check=True)
        rates: dict[str, list[float]] = {"bare openai SDK": [], "synthdiv generate": []}
        cpu_ms: dict[str, list[float]] = {name: [] for name in rates}
        memory: dict[str, float] = {}
        with server(directory, options.latency) as url:
            for turn in range(options.turns):
                commands = {
                    "bare openai SDK": [*again, "--part=sdk", f"--url={url}"],
                    "synthdiv generate": generate(options, url, directory / f"corpus{turn}"),
                }
                for client, command in commands.items():
                    wall, cpu, memory[client] = timed(command)
                    rates[client].append(options.documents / wall)
                    cpu_ms[client].append(1000 * cpu / options.documents)
            ratios = [ours / theirs for theirs, ours in zip(*rates.values(), strict=True)]
            found: dict[str, object] = {
                "documents": options.documents,
                "concurrency": options.concurrency,
                "family": options.family,
                "documents_per_second": rates,
                "cpu_ms_per_document": cpu_ms,
                "generate_over_bare_sdk": statistics.median(ratios),
                "most_memory_mb": memory,
            }
            if options.kills:
                seconds = options.documents / statistics.median(rates["synthdiv generate"])
                found["killed"] = killed(options, url, directory, seconds)
    return found


def prepare(options: argparse.Namespace, directory: Path) -> None:
    """Writes all messages, and what the offline writer answers to each."""
    plan = CorpusPlan(find(TOPICS), config(options))
    asked, replies = [], {}
    backend = OfflineBackend()

    async def answer_all() -> None:
        for number in range(len(plan)):
            request = plan.request(number)
            assert request.schema is not None
            sampling = request.sampling
            call = Call(
                request.messages,
                wire_schema(request.schema),
                sampling.temperature,
                sampling.top_p,
                sampling.max_tokens,
                sampling.seed,
            )
            asked.append(request.messages[0]["content"])
            completion = completion_of(await backend.complete(call), "test")
            replies[digest(asked[-1])] = json.dumps(completion).encode()

    asyncio.run(answer_all())
    (directory / "asked.json").write_text(json.dumps(asked))
    (directory / "replies.pickle").write_bytes(pickle.dumps(replies))


def config(options: argparse.Namespace) -> GenerateConfig:
    topics = len(read_topics(find(TOPICS)))
    generations = -(-options.documents // topics)
    return GenerateConfig(
        family=options.family,
        generations=generations,
        topics=-(-options.documents // generations),
    )


def digest(message: str) -> bytes:
    return hashlib.sha1(message.encode()).digest()


def generate(options: argparse.Namespace, url: str, output: Path) -> list[str]:
    settings = config(options)
    return [
        sys.executable, "-m", "synthdiv.generate", f"--output={output}", "--llm=openai",
        "--model=test", f"--base_url={url}/v1", f"--concurrency={options.concurrency}",
        f"--family={options.family}", f"--bind=Generate.topics={settings.topics}",
        f"--bind=Generate.generations={settings.generations}",
    ]  # fmt: skip


def timed(command: list[str]) -> tuple[float, float, float]:
    """Seconds of the clock and of the processor that a command takes with its start, and MB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read().decode()}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def killed(
    options: argparse.Namespace, url: str, directory: Path, seconds: float
) -> dict[str, object]:
    """Kills the command at random moments and compares what it ends with."""
    draw = random.Random(0)
    before = Counter(counts(url))
    command = generate(options, url, directory / "killed")
    for _ in range(options.kills):
        # Each run gets an even share of the whole, and may be killed while it starts.
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.2, 2 + 2 * seconds / (options.kills + 1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    at_the_end = documents(directory / "killed")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = Counter(counts(url)) - before
    whole, other = directory / "corpus0", directory / "killed"
    return {
        "kills": options.kills,
        "documents_before_the_last_run": at_the_end,
        "same_shards": digests(whole) == digests(other),
        "sent_again": sum(asked.values()) - len(asked),
        "sent_again_a_kill": (sum(asked.values()) - len(asked)) / options.kills,
    }


def documents(directory: Path) -> int:
    return sum(parquet.read_metadata(path).num_rows for path in directory.glob("*.parquet"))


def digests(directory: Path) -> dict[str, str]:
    return {path.name: files.sha256_file(path) for path in sorted(directory.glob("*.parquet"))}


def counts(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url) as response:
        told: dict[str, int] = json.load(response)
        return told


async def bare_sdk(options: argparse.Namespace) -> None:
    """Sends all messages with the openai SDK, writes what comes back, and does nothing else."""
    import openai

    asked = json.loads((options.directory / "asked.json").read_text())
    client = openai.AsyncOpenAI(api_key="none", base_url=f"{options.url}/v1", max_retries=0)
    slots = asyncio.Semaphore(options.concurrency)
    with (options.directory / "sdk.jsonl").open("w") as file:

        async def one(content: str) -> None:
            async with slots:
                completion = await client.chat.completions.create(
                    model="test",
                    messages=[{"role": "user", "content": content}],
                    max_tokens=2048,
                )
            file.write(json.dumps(json.loads(completion.choices[0].message.content or "")) + "\n")

        await asyncio.gather(*map(one, asked))
    await client.close()


@contextlib.contextmanager
def server(directory: Path, latency: float) -> Iterator[str]:
    command = [sys.executable, __file__, "--part=server", f"--latency={latency}"]
    process = subprocess.Popen(
        [*command, f"--directory={directory}"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


async def serve(directory: Path, latency: float) -> None:
    """Answers each message with its reply; GET tells how often each was asked."""
    replies = pickle.loads((directory / "replies.pickle").read_bytes())
    asked: Counter[str] = Counter()

    def response(content: bytes) -> bytes:
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
        )
        return head.encode() + b"\r\n\r\n" + content

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if head.startswith(b"get "):
                    writer.write(response(json.dumps(asked).encode()))
                    continue
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                body: dict[str, Any] = json.loads(await reader.readexactly(length))
                key = digest(body["messages"][0]["content"])
                asked[key.hex()] += 1
                await asyncio.sleep(latency)
                writer.write(response(replies[key]))
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096, limit=1 << 20)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    main()
