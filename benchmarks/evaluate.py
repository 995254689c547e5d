"""Requests a second of the evaluation beside lm-eval's own `hf` model: same model, same machine.

    python benchmarks/evaluate.py --data_dir=DIR        # DIR: data files of the paper's suite
    python benchmarks/evaluate.py --data_dir=DIR --tasks=hellaswag --limit=500 --size=12m

Prints JSON. A Llama with random weights is written once as a Hugging Face directory; each side
loads it in a process of its own, in float32, and answers the same lm-eval requests. Timed is the
answering alone, tokenization included, loading left out: `seconds` the first time, `seconds_again`
once all is compiled and nothing is stored; the processors' seconds say it on a machine that does
other work too. lm-eval's model gets the best of the batch sizes given.
The two sides' log likelihoods are compared, so that a speed is that of the same answers.

The peer is needed for the comparison only: pip install torch accelerate transformers
"""

import argparse
import contextlib
import io
import json
import os
import platform
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


def measure(side: str, model: str, data_dir: str, tasks: str, limit: int, batch: int) -> dict:
    """Runs in a process of its own: answers the requests twice."""
    from synthdiv.evaluation.tasks import load_tasks, quiet

    loaded = load_tasks(tasks.split(","), Path(data_dir))
    with quiet():
        for task in loaded.loaded["tasks"].values():
            task.build_all_requests(limit=limit or None)
    requests = [r for task in loaded.loaded["tasks"].values() for r in task.instances]
    if side == "synthdiv":
        from synthdiv.evaluation import SynthdivLM

        lm = SynthdivLM(model)
        forget = lm.store._known.clear
    else:
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=batch)

        def forget() -> None:
            """Nothing is kept from the first time."""

    seconds, cpu_seconds = [], []
    for _ in range(2):
        forget()
        start, cpu_start = time.perf_counter(), time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            answers = lm.loglikelihood(requests)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    return {
        "requests": len(requests),
        "seconds": round(seconds[0], 2),
        "seconds_again": round(seconds[1], 2),
        "requests_per_second": round(len(requests) / seconds[1], 1),
        "cpu_seconds_again": round(cpu_seconds[1], 2),
        "log_likelihoods": [answer[0] for answer in answers],
    }


def in_process(*arguments: str) -> dict:
    """Measures in a fresh process."""
    ran = subprocess.run(
        [sys.executable, __file__, "--measure", *arguments], capture_output=True, text=True
    )
    if ran.returncode:
        raise SystemExit(ran.stderr)
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--tasks", default="synthdiv_paper")
    parser.add_argument("--limit", type=int, default=100, help="questions of each task; 0: all")
    parser.add_argument("--size", choices=SIZES, default="12m")
    parser.add_argument("--vocab_size", type=int, default=50_304)
    parser.add_argument("--max_length", type=int, default=1024)
    parser.add_argument("--batch_sizes", default="8,32", help="that lm-eval's model is tried with")
    settings = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder), settings.size, settings.vocab_size, settings.max_length)
        asked = (str(model), settings.data_dir, settings.tasks, str(settings.limit))
        ours = in_process("synthdiv", *asked, "0")
        theirs = {
            int(size): in_process("hf", *asked, size) for size in settings.batch_sizes.split(",")
        }
    best = min(theirs, key=lambda size: theirs[size]["seconds_again"])
    pairs = zip(ours["log_likelihoods"], theirs[best]["log_likelihoods"], strict=True)
    worst = max(abs(a - b) for a, b in pairs)
    for found in (ours, *theirs.values()):
        del found["log_likelihoods"]
    report = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": platform.machine()},
        "settings": vars(settings) | {"dtype": "float32"},
        "synthdiv": ours,
        "lm_eval_hf": {f"batch_size={size}": found for size, found in theirs.items()},
        "times_as_fast": round(theirs[best]["seconds_again"] / ours["seconds_again"], 2),
        "times_as_fast_by_cpu_seconds": round(
            min(t["cpu_seconds_again"] for t in theirs.values()) / ours["cpu_seconds_again"], 2
        ),
        "times_as_fast_first_run": round(
            min(t["seconds"] for t in theirs.values()) / ours["seconds"], 2
        ),
        "largest_difference_of_log_likelihoods": worst,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        side, model, data_dir, tasks, limit, batch = sys.argv[2:]
        print(json.dumps(measure(side, model, data_dir, tasks, int(limit), int(batch))))
    else:
        main()
