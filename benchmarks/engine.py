"""What a Ray cluster of one node takes beside this machine's own engine, in CPU seconds.

    python benchmarks/engine.py [--turns=3] [--megabytes=40] [--calls=6000] [--input=CORPUS]

Does the same work by both engines in turns, each time in a process of its own: tokenizing, the
baselines and filtering of real text (by default Python's standard library), and calls to a canned
server, which is what generating and scoring take. CPU seconds are those of the process and all
below it, Ray's own processes among them, from the start of the work to its end; starting a cluster
and its workers is told apart. Prints one JSON object with the medians and the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.baselines import real_documents  # noqa: E402
from benchmarks.llm_client import requests, static_server  # noqa: E402
from synthdiv.engine import Engine, crew  # noqa: E402
from synthdiv.files import Corpus, CorpusWriter  # noqa: E402

WORKS = ("tokenize", "baselines", "filter", "calls")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process and all below it, also of those that have ended."""
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
        found = {pid for pid, parent in parents.items() if parent in own} - own
        own, grown = own | found, bool(found)
    return sum(times[pid] for pid in own)


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


def one(settings: dict[str, Any]) -> None:
    """Does one piece of work and prints what it took."""
    engine = Engine(settings["engine"])
    idle(0)
    before = cpu_seconds()
    if engine.name == "ray":
        import ray

        ray.init("local", num_cpus=os.cpu_count(), object_store_memory=1 << 29, log_to_driver=False)
        with crew(idle, engine) as workers:
            list(workers.map([0.5] * 2 * (os.cpu_count() or 1)))
        time.sleep(3)  # its processes are still starting
    start, began = cpu_seconds(), time.monotonic()
    work = {"tokenize": tokenize, "baselines": baselines, "filter": filtered, "calls": calls}
    with tempfile.TemporaryDirectory() as directory:
        work[settings["work"]](settings, engine, Path(directory) / "out")
    took = {
        "cpu_s": cpu_seconds() - start,
        "wall_s": time.monotonic() - began,
        "start_cpu_s": start - before,
    }
    print("\n" + json.dumps(took))


def measured(**settings: Any) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", json.dumps(settings)]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(ended.stdout.splitlines()[-1])


def compared(measure: Callable[..., dict[str, float]], turns: int) -> dict[str, Any]:
    """Medians of both engines, which take turns, and the median of the turns' ratios."""
    found: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
    for turn in range(turns):
        for name in sorted(found, reverse=bool(turn % 2)):
            found[name].append(measure(engine=name))
    ratios = [r["cpu_s"] / h["cpu_s"] for h, r in zip(found["local"], found["ray"], strict=True)]
    medians = {
        name: {key: round(statistics.median(t[key] for t in took), 2) for key in took[0]}
        for name, took in found.items()
    }
    return {
        **medians,
        "cpu_ratio": round(statistics.median(ratios), 3),
        "cpu_ratios": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--only", default=",".join(WORKS))
    arguments = parser.parse_args()
    if arguments.one:
        one(json.loads(arguments.one))
        return
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
        figures = {
            work: compared(partial(measured, work=work, **settings), arguments.turns)
            for work in arguments.only.split(",")
        }
        told = {"cores": os.cpu_count(), "megabytes": arguments.megabytes, "server": server}
        print(json.dumps(told | {"calls": arguments.calls} | figures, indent=1))


if __name__ == "__main__":
    main()
