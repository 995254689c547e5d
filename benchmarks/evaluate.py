"""Requests a second of the evaluation beside lm-eval's own `hf` model: same model, same machine.

    python benchmarks/evaluate.py --data_dir=DIR        # DIR: data files of the paper's suite
    python benchmarks/evaluate.py --data_dir=DIR --tasks=hellaswag --limit=500 --size=12m

Prints JSON. A Llama with random weights is written once as a Hugging Face directory; each side
loads it in a process of its own, in float32, and answers the same lm-eval requests. Timed is the
answering alone, tokenization included, loading left out. A first pass of each side compiles, and
finds the best of the batch sizes for lm-eval's model (ours runs as it comes); then the two take
turns, `rounds` times, one at rest while the other runs, nothing stored from pass to pass. Figures
are medians; the processors' seconds say it on a machine that does other work too.
The two sides' log likelihoods are compared, so that a speed is that of the same answers.

The peer is needed for the comparison only: pip install torch accelerate transformers
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIZES = {  # hidden, MLP, layers, heads
    "2m": (160, 448, 4, 5),
    "12m": (384, 1024, 6, 6),
    "60m": (640, 1728, 10, 10),
}


def write_model(folder: Path, size: str, vocab_size: int, max_length: int) -> Path:
    """A random Llama of the size, with a tokenizer trained on Python's own reference."""
    from pydoc_data.topics import topics

    from flax import nnx

    from synthdiv.data import train_tokenizer
    from synthdiv.files import Corpus
    from synthdiv.model import Llama, ModelConfig, save_hf

    pages = folder / "pages.jsonl"
    pages.write_text("".join(json.dumps({"text": text}) + "\n" for text in topics.values()))
    tokenizer = train_tokenizer([Corpus(pages)], folder / "tokenizer", min(vocab_size, 8192))
    hidden, mlp, layers, heads = SIZES[size]
    config = ModelConfig(
        vocab_size=max(vocab_size, tokenizer.vocab_size),
        hidden=hidden,
        mlp=mlp,
        layers=layers,
        heads=heads,
        max_length=max_length,
        init_std=0.1,
        dtype="float32",
    )
    model = Llama(config, nnx.Rngs(0))
    return save_hf(model, config, folder / "tokenizer", folder / "model")


def serve(side: str, model: str, data_dir: str, tasks: str, limit: int) -> None:
    """Runs in a process of its own: for each batch size read, answers all requests once."""
    from synthdiv.evaluation.tasks import load_tasks, quiet

    loaded = load_tasks(tasks.split(","), Path(data_dir))
    with quiet():
        for task in loaded.loaded["tasks"].values():
            task.build_all_requests(limit=limit or None)
    requests = [r for task in loaded.loaded["tasks"].values() for r in task.instances]
    if side == "synthdiv":
        from synthdiv.evaluation import SynthdivLM

        lm = SynthdivLM(model)
    else:
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=1)
    for line in sys.stdin:
        if side == "synthdiv":
            lm.store._known.clear()
        else:
            lm.batch_size_per_gpu = int(line)
        start, cpu_start = time.perf_counter(), time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            answers = lm.loglikelihood(requests)
        found = {"seconds": time.perf_counter() - start}
        found["cpu_seconds"] = time.process_time() - cpu_start
        found["log_likelihoods"] = [answer[0] for answer in answers]
        print(json.dumps(found), flush=True)


class Side:
    """One of the two, loaded and waiting in its process."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, __file__, "--serve", *arguments]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def run(self, batch: int = 0) -> dict:
        """Answers all requests once."""
        self._process.stdin.write(f"{batch}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith('{"seconds"'):
                return json.loads(line)
        raise SystemExit(f"a side ended with {self._process.wait()}")

    def close(self) -> None:
        """Lets the process end."""
        self._process.stdin.close()
        self._process.wait()


def summary(first: dict, rounds: list[dict]) -> dict:
    """Medians over the rounds."""
    requests = len(first["log_likelihoods"])
    seconds, cpu = (
        statistics.median(found[name] for found in rounds) for name in ("seconds", "cpu_seconds")
    )
    return {
        "requests": requests,
        "requests_per_second": round(requests / seconds, 1),
        "requests_per_cpu_second": round(requests / cpu, 1),
        "seconds": [round(found["seconds"], 2) for found in rounds],
        "cpu_seconds": [round(found["cpu_seconds"], 2) for found in rounds],
        "first_pass_seconds": round(first["seconds"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--tasks", default="synthdiv_paper")
    parser.add_argument("--limit", type=int, default=100, help="questions of each task; 0: all")
    parser.add_argument("--size", choices=SIZES, default="12m")
    parser.add_argument("--vocab_size", type=int, default=50_304)
    parser.add_argument("--max_length", type=int, default=1024)
    parser.add_argument(
        "--batch_sizes", default="8,16,32", help="that lm-eval's model is tried with"
    )
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder), settings.size, settings.vocab_size, settings.max_length)
        asked = (str(model), settings.data_dir, settings.tasks, str(settings.limit))
        ours, theirs = Side("synthdiv", *asked), Side("hf", *asked)
        our_first = ours.run()
        their_firsts = {int(n): theirs.run(int(n)) for n in settings.batch_sizes.split(",")}
        best = min(their_firsts, key=lambda n: their_firsts[n]["cpu_seconds"])
        rounds = [(ours.run(), theirs.run(best)) for _ in range(settings.rounds)]
        for side in (ours, theirs):
            side.close()
    our_rounds, their_rounds = zip(*rounds, strict=True)
    a, b = our_rounds[-1]["log_likelihoods"], their_rounds[-1]["log_likelihoods"]
    times, cpu_times = (
        [t[name] / o[name] for o, t in rounds] for name in ("seconds", "cpu_seconds")
    )
    report = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": platform.machine()},
        "settings": vars(settings) | {"dtype": "float32"},
        "synthdiv": summary(our_first, our_rounds),
        "lm_eval_hf": {"batch_size": best} | summary(their_firsts[best], their_rounds),
        "lm_eval_hf_cpu_seconds_by_batch_size": {
            str(n): round(found["cpu_seconds"], 2) for n, found in their_firsts.items()
        },
        "times_as_fast": round(statistics.median(times), 2),
        "times_as_fast_by_cpu_seconds": round(statistics.median(cpu_times), 2),
        "times_as_fast_first_pass": round(
            min(found["seconds"] for found in their_firsts.values()) / our_first["seconds"], 2
        ),
        "largest_difference_of_log_likelihoods": max(abs(x - y) for x, y in zip(a, b, strict=True)),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        side, model, data_dir, tasks, limit = sys.argv[2:]
        serve(side, model, data_dir, tasks, int(limit))
    else:
        main()
