"""What a Ray cluster of one node takes beside this machine's own engine, in CPU seconds.

    python benchmarks/engine.py [--turns=3] [--megabytes=40] [--calls=6000] [--input=CORPUS]

Does the same work by both engines in turns: tokenizing, the baselines and filtering of real text
(by default Python's standard library), and calls to a canned server, which is what generating and
scoring take. CPU seconds are those of this process and all below it, from the start of the work to
its end; Ray's own processes, idle or not, count where Ray does it. Starting the cluster and its
workers is told apart. Prints a JSON object a line.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.baselines import real_documents  # noqa: E402
from benchmarks.llm_client import requests, static_server  # noqa: E402
from synthdiv.engine import Engine, crew  # noqa: E402
from synthdiv.files import Corpus, CorpusWriter  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(without: frozenset[int] = frozenset()) -> float:
    """Of this process and all below it, also of those that have ended, but for some children."""
    times: dict[int, float] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
        times[int(path.parent.name)] = sum(map(int, fields[11:15])) / TICKS
    own, grown = {os.getpid()}, True
    while grown:
        found = {pid for pid, parent in parents.items() if parent in own} - own - without
        own, grown = own | found, bool(found)
    return sum(times[pid] for pid in own)


def children() -> frozenset[int]:
    """Those of this process that are there."""
    path = Path(f"/proc/{os.getpid()}/task")
    listed = (each.read_text().split() for each in path.glob("*/children"))
    return frozenset(int(pid) for pids in listed for pid in pids)


def tokenize(settings: dict[str, Any], engine: Engine, output: Path) -> None:
    from synthdiv.data import load_tokenizer, tokenize_corpus

    tokenizer = load_tokenizer(settings["tokenizer"])
    tokenize_corpus(Corpus(settings["corpus"]), output, tokenizer, 2048, engine=engine)


def baselines(settings: dict[str, Any], engine: Engine, output: Path) -> None:
    from synthdiv.baselines import compute_baselines

    compute_baselines(Corpus(settings["corpus"]), engine=engine)


def filtered(settings: dict[str, Any], engine: Engine, output: Path) -> None:
    from synthdiv.curation import FilterConfig, FilterWork, filter_corpus

    config = FilterConfig(languages=("en",))
    filter_corpus(FilterWork(Corpus(settings["corpus"]), config), output, engine=engine)


def calls(settings: dict[str, Any], engine: Engine, output: Path) -> None:
    from synthdiv.llm import LLMConfig, open_session

    config = LLMConfig("openai", "static", settings["url"], concurrency=256)
    with open_session(config, output / "answers.sqlite", engine=engine) as session:
        asked = session.map(session.ask, requests(settings["calls"]))
        assert all(reply.failure is None for _, reply in asked)


def idle(seconds: float) -> None:
    """Loads in a worker what work needs."""
    import synthdiv.baselines.compute
    import synthdiv.curation
    import synthdiv.data.tokens  # noqa: F401

    time.sleep(seconds)


WORK = {"tokenize": tokenize, "baselines": baselines, "filter": filtered, "calls": calls}


def start_cluster() -> frozenset[int]:
    """Starts one node, its workers with what they import; returns Ray's own processes."""
    import ray

    before = children()
    size: dict[str, Any] = {"num_cpus": os.cpu_count(), "object_store_memory": 1 << 29}
    ray.init("local", **size, include_dashboard=False, log_to_driver=False)
    with crew(idle, Engine("ray")) as workers:
        list(workers.map([0.5] * 2 * (os.cpu_count() or 1)))
    time.sleep(3)  # its processes are still starting
    return children() - before


def measured(work: str, settings: dict[str, Any], name: str, rays: frozenset[int]) -> float:
    """CPU seconds of a piece of work; Ray's processes count where Ray does it."""
    without = rays if name == "local" else frozenset[int]()
    start = cpu_seconds(without)
    with tempfile.TemporaryDirectory() as directory:
        WORK[work](settings, Engine(name), Path(directory) / "out")
    return cpu_seconds(without) - start


def compared(
    work: str, settings: dict[str, Any], rays: frozenset[int], turns: int
) -> dict[str, Any]:
    """CPU seconds of both engines, which take turns, their medians, and that of the ratios."""
    found: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(turns):
        for name in sorted(found, reverse=bool(turn % 2)):
            found[name].append(measured(work, settings, name, rays))
    ratios = [ray / here for here, ray in zip(found["local"], found["ray"], strict=True)]
    return {
        **{name: [round(seconds, 2) for seconds in took] for name, took in found.items()},
        **{f"{name}_median": round(statistics.median(took), 2) for name, took in found.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--only", default=",".join(WORK))
    arguments = parser.parse_args()
    from synthdiv.data import train_tokenizer

    with tempfile.TemporaryDirectory() as directory, static_server() as (url, server):
        left = arguments.megabytes * 1e6
        writer = CorpusWriter(Path(directory) / "corpus")
        rows: list[dict[str, Any]] = []
        while left > 0:
            for text in real_documents(arguments.input):
                rows.append({"id": str(len(rows)), "text": f"{len(rows)} {text}"})
                left -= len(text)
                if left <= 0:
                    break
        writer.write(rows)
        writer.close({"kind": "corpus", "documents": len(rows)})
        corpus = Corpus(Path(directory) / "corpus")
        train_tokenizer([corpus], Path(directory) / "bpe", 32_768, max_bytes=10_000_000)
        settings = {"corpus": str(corpus.path), "tokenizer": f"{directory}/bpe"}
        settings |= {"url": url, "calls": arguments.calls}
        idle(0)
        start = cpu_seconds()
        rays = start_cluster()
        told = {"cores": os.cpu_count(), "megabytes": arguments.megabytes, "server": server}
        told |= {"calls": arguments.calls, "start_cpu_s": round(cpu_seconds() - start, 2)}
        print(json.dumps(told), flush=True)
        for work in arguments.only.split(","):
            figures = compared(work, settings, rays, arguments.turns)
            print(json.dumps({work: figures}), flush=True)


if __name__ == "__main__":
    main()
