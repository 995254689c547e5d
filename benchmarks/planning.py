"""How fast a corpus is planned, and how soon one that is nearly done goes on.

    python benchmarks/planning.py --topics=620000 --generations=40

Writes topics, plans requests of every family that takes topics, each in a process of its own, and
prints JSON: requests a CPU second (in order, with their prompts), seconds until the plan is ready,
and the most memory that was held. Then a corpus with all its shards but the last few thousand
requests is gone on with, against a server on the loopback address: seconds to its first call.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from synthdiv import files
from synthdiv.config import find
from synthdiv.generation import CorpusPlan, GenerateConfig, read_topics

FAMILIES = ("topic", "topic_styles", "topic_styles_persona", "multi_topic_styles_persona")
FAMILIES += ("instruct",)


def write_topics(path: Path, number: int) -> None:
    """Writes variations of the installed topics, a line each."""
    seeds = list(read_topics(find("configs/topics/seeds.jsonl")))
    with path.open("w") as file:
        for place in range(number):
            seed, turn = seeds[place % len(seeds)], place // len(seeds)
            above, name = seed.path[1:], f"{seed.path[-1]}, case {turn}"
            row = {"path": [*above, name], "keywords": [*seed.keywords, f"case {turn}"]}
            file.write(json.dumps(row) + "\n")


def plan_family(topics: Path, family: str, generations: int, requests: int) -> dict[str, object]:
    """Measures one family in this process."""
    started, wall = time.process_time(), time.perf_counter()
    plan = CorpusPlan(topics, GenerateConfig(family=family, generations=generations))
    ready = {"cpu": time.process_time() - started, "wall": time.perf_counter() - wall}
    for number in range(0, len(plan), len(plan) // requests):  # what is made once is made
        plan.request(number)
    best = 0.0
    for turn in range(5):
        first = len(plan) * (turn + 1) // 6
        started = time.process_time()
        for number in range(first, first + requests):
            plan.request(number)
        best = max(best, requests / (time.process_time() - started))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"family": family, "requests_a_cpu_second": best, "ready_s": ready, "memory_mb": memory}


class _Server(ThreadingHTTPServer):
    """Takes the time of its first call."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.called = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.called.set()  # type: ignore[attr-defined]
        time.sleep(60)

    def log_message(self, *_: object) -> None:
        pass


def first_call(topics: Path, directory: Path, generations: int) -> dict[str, float]:
    """Seconds until `synthdiv generate` sends its first call, by the clock and of the processor."""
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "synthdiv.generate", f"--topics={topics}"]
    command += [f"--output={directory}", f"--bind=Generate.generations={generations}"]
    command += ["--llm=openai", "--model=m", f"--base_url=http://127.0.0.1:{server.server_port}/v1"]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"OPENAI_API_KEY": "none"})
    called = server.called.wait(300)
    seconds = time.perf_counter() - started
    process.send_signal(signal.SIGKILL)
    _, _, used = os.wait4(process.pid, 0)
    server.shutdown()
    if not called:
        raise SystemExit("no call came")
    return {"wall": seconds, "cpu": used.ru_utime + used.ru_stime}


def resume(topics: Path, scratch: Path, generations: int, done: int) -> dict[str, object]:
    """Plants the shards of a corpus with `done` requests, and goes on with it."""
    corpus = scratch / "corpus"
    fresh = first_call(topics, corpus, generations)
    shards = done // GenerateConfig().shard_documents
    note = {"requests": done, "documents": done, "words": done, "characters": done, "tokens": done}
    writer = files.CorpusWriter(corpus)
    row = {"id": "a", "text": "A text.", "request": done - 1}
    first = writer.write([row], note | {"failure": None})
    for number in range(1, shards):
        os.link(first, corpus / f"shard-{number:05d}.parquet")
    again = first_call(topics, corpus, generations)
    return {"at_request": done, "shards": shards, "first_call_s": again, "from_the_start_s": fresh}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topics", type=int, default=620_000)
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--family", help="this one alone, of the file --file")
    parser.add_argument("--file", type=Path)
    asked = parser.parse_args()
    if asked.family:
        print(json.dumps(plan_family(asked.file, asked.family, asked.generations, asked.requests)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        topics = Path(scratch) / "topics.jsonl"
        write_topics(topics, asked.topics)
        each = [sys.executable, __file__, f"--file={topics}", f"--generations={asked.generations}"]
        each.append(f"--requests={asked.requests}")
        families = [
            json.loads(subprocess.check_output([*each, f"--family={family}"]))
            for family in FAMILIES
        ]
        done = int(0.968 * asked.topics * asked.generations) // 1000 * 1000
        going_on = resume(topics, Path(scratch), asked.generations, done)
    print(json.dumps({"families": families, "going_on": going_on}, indent=2))


if __name__ == "__main__":
    main()
