"""The real runs that same_figures.py does with two trees, each a function of a `Tree`."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FINISHED = "figures.json"
PAUSED_EXIT = 75
MOST_PAUSES = 20
SPENT = ("calls", "tokens", "cost_usd")

SCORE = (
    "--llm=offline",
    "--bind=Score.rounds=160",
    "--bind=Score.criteria_rounds=12",
    "--bind=Score.criteria_sets=4",
    "--bind=Score.control_rounds=300",
    "--bind=Score.bootstrap=400",
)
TRAIN = (
    "--bind=Pretrain.batch_size=8",
    "--bind=Pretrain.tokens=61_440",  # 60 steps of 8 sequences of 128
    "--bind=Pretrain.log_every=1",
    "--bind=Pretrain.checkpoint_every=25",
    "--bind=Pretrain.tensorboard=False",
    "--bind=Pretrain.compile_cache=''",
    "--bind=Model.vocab_size=1024",
    "--bind=Model.hidden=64",
    "--bind=Model.mlp=128",
    "--bind=Model.layers=2",
    "--bind=Model.heads=4",
    "--bind=Model.max_length=128",
    "--bind=Model.dtype='float32'",
)


@dataclasses.dataclass(frozen=True)
class Tree:
    """A checkout whose commands are run, the inputs that all runs read, and one run's folder."""

    root: Path
    inputs: Path
    folder: Path
    kept: Path  # what the other commit's runs left, by item

    def run(self, module: str, *flags: str, devices: int = 1, expect: int | None = 0) -> str:
        """Runs `python -m synthdiv.MODULE` and returns what it said; refuses another exit code."""
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")} | {
            "PYTHONPATH": str(self.root),
            "HF_HUB_OFFLINE": "1",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "OPENAI_API_KEY": "none",
        }
        done = subprocess.run(
            [sys.executable, "-m", f"synthdiv.{module}", *flags],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if expect is not None and done.returncode != expect:
            raise SystemExit(f"{module} in {self.folder} ended with {done.returncode}:\n{said}")
        return said

    def corpus(self, name: str) -> str:
        return f"--input={self.inputs / name}"


def score_sets(tree: Tree) -> Any:
    """Criteria sets, repeated rounds, a second judge, labels."""
    more = ("--repeat_fraction=0.2", "--second_judge=offline", "--labels=style", "--seed=3")
    tree.run("score", tree.corpus("styles"), "--output=out", *SCORE, *more)
    return score_directory(tree.folder / "out")


def score_plain(tree: Tree) -> Any:
    """One criteria set, no verification, three repeats, clusters split."""
    binds = [
        "--bind=Score.verify=False",
        "--bind=Score.repeats=3",
        "--bind=Score.policy='split'",
        "--bind=Score.rounds=60",
        "--bind=Score.criteria_sets=1",
        "--bind=Score.document_words=80",
    ]
    tree.run("score", tree.corpus("topics"), "--output=out", *SCORE, *binds)
    return score_directory(tree.folder / "out")


def score_target(tree: Tree) -> Any:
    """Given criteria, stopping by itself at a target interval."""
    more = ("--criteria=configs/score/criteria.json", "--target_ci=0.5", "--seed=1")
    binds = [
        "--bind=Score.rounds=600",
        "--bind=Score.block_rounds=20",
        "--bind=Score.look_rounds=40",
        "--bind=Score.with_baselines=False",
    ]
    tree.run("score", tree.corpus("personas"), "--output=out", *SCORE, *more, *binds)
    return score_directory(tree.folder / "out")


def comparison(tree: Tree) -> Any:
    """Three corpora under one set of criteria."""
    tree.run("score", three_corpora(tree), "--output=out", "--compare", *SCORE)
    return score_directories(tree.folder / "out")


def capped(tree: Tree) -> Any:
    """A score that a cap stops, and the same without the cap.

    Which rounds are answered when the cap is reached depends on who is first, so of the partial
    score only the calls are compared.
    """
    flags = (tree.corpus("styles"), "--output=out", *SCORE, "--concurrency=1")
    tree.run("score", *flags, "--max_calls=180", expect=PAUSED_EXIT)
    partial = score_directory(tree.folder / "out")["score"]
    stopped = partial["calls"], partial["partial"]["missing"]
    tree.run("score", *flags)
    whole = score_directory(tree.folder / "out")
    whole["score"].pop("tokens")  # of the calls that were left
    return {"partial": stopped, "whole": whole}


def batch(tree: Tree) -> Any:
    """A score whose answers come by batch files."""
    flags = (tree.corpus("topics"), "--output=out", *SCORE, "--llm=batch", "--model=stand-in")
    pauses = by_batch(tree, flags)
    return score_directory(tree.folder / "out") | {"pauses": pauses}


def batch_comparison(tree: Tree) -> Any:
    """A comparison of three corpora by batch files."""
    flags = (three_corpora(tree), "--output=out", "--compare", *SCORE, "--llm=batch")
    pauses = by_batch(tree, (*flags, "--model=stand-in"))
    return score_directories(tree.folder / "out") | {"pauses": pauses}


def generation(tree: Tree) -> Any:
    """A corpus in several shards, with styles, personas and several topics a text."""
    tree.run(
        "generate",
        "--output=corpus",
        "--llm=offline",
        "--family=multi_topic_styles_persona",
        "--seed=5",
        "--bind=Generate.topics=20",
        "--bind=Generate.generations=6",
        "--bind=Generate.shard_documents=50",
    )
    manifest = json.loads((tree.folder / "corpus/manifest.json").read_text())
    return {"manifest": manifest, "shards": shards(tree.folder / "corpus")}


def topics(tree: Tree) -> Any:
    """Topics out of pages."""
    tree.run("topics", tree.corpus("topics"), "--output=topics.jsonl", "--llm=offline")
    return [json.loads(line) for line in (tree.folder / "topics.jsonl").read_text().splitlines()]


def study(tree: Tree) -> Any:
    """The smoke study: corpora, scores, models, accuracies, regression."""
    tree.run("study", "--config=configs/study/smoke.gin", "--workdir=study")
    found: dict[str, Any] = {"study": json.loads((tree.folder / "study/study.json").read_text())}
    for score in sorted(tree.folder.glob("study/*/score")):
        found[score.parent.name] = score_directory(score)
    for log in sorted(tree.folder.glob("study/*/tiny/*/metrics.jsonl")):
        found["/".join(log.parts[-4:-1])] = losses(log)
    return found


def tokens(tree: Tree) -> Any:
    """A tokenizer trained on a corpus, and the corpus packed by it."""
    binds = ("--bind=Tokenizer.vocab_size=1024", "--sequence_length=128", "--workers=0")
    tree.run("tokenize", tree.corpus("topics"), "--output=out", "--tokenizer=bpe", *binds)
    return {
        str(file.relative_to(tree.folder)): sha256(file)
        for pattern in ("*.array_record", "tokenizer/tokenizer.json")
        for file in sorted((tree.folder / "out").glob(pattern))
    }


def pretrain_1(tree: Tree) -> Any:
    """60 steps on one device."""
    return pretrain(tree, devices=1)


def pretrain_8(tree: Tree) -> Any:
    """60 steps on eight devices: data, fsdp and tensor axes of two."""
    return pretrain(tree, 8, "--bind=Mesh.data=2", "--bind=Mesh.fsdp=2", "--bind=Mesh.tensor=2")


def fine_tuning(tree: Tree) -> Any:
    """Two epochs of conversations; every step is full."""
    tree.run(
        "sft",
        f"--init_from={tree.inputs / 'model'}",
        f"--input={tree.inputs / 'chat.jsonl'}",
        "--workdir=run",
        "--bind=SFT.batch_size=1",
        "--bind=SFT.epochs=2",
        "--bind=SFT.log_every=1",
        "--bind=SFT.tensorboard=False",
        "--bind=SFT.compile_cache=''",
    )
    return losses(tree.folder / "run/metrics.jsonl")


def evaluation(tree: Tree) -> Any:
    """Accuracy on invented questions and bits per byte, of a checkpoint of the other commit."""
    return evaluated(tree, tree.inputs / "model")


def exported(tree: Tree) -> Any:
    """The same checkpoint as a Hugging Face Llama, and its evaluation."""
    tree.run("export", f"--checkpoint={tree.inputs / 'model'}", "--output=llama")
    return {
        "weights": sha256(tree.folder / "llama/model.safetensors"),
        "tokenizer": sha256(tree.folder / "llama/tokenizer.json"),
        "evaluation": evaluated(tree, tree.folder / "llama"),
    }


def store(tree: Tree) -> Any:
    """A score through a server; this tree goes on from the answers that the other commit kept."""
    out = tree.folder / "out"
    before = tree.kept / "store/out"
    if tree.folder != before.parent:
        out.mkdir()
        shutil.copy(before / "answers.sqlite", out)
    with server(tree) as (url, asked):
        flags = (tree.corpus("styles"), "--output=out", *SCORE[1:], "--llm=openai", "--model=m")
        tree.run("score", *flags, f"--base_url={url}")
        calls = asked()
    found = score_directory(out)
    found["score"] = {k: v for k, v in found["score"].items() if k not in SPENT}
    return found | ({"asked": calls} if tree.folder != before.parent else {"asked": 0})


ITEMS: dict[str, Callable[[Tree], Any]] = {
    item.__name__: item
    for item in (
        *(score_sets, score_plain, score_target, comparison, capped, batch, batch_comparison),
        *(store, generation, topics, tokens, pretrain_1, pretrain_8, fine_tuning, evaluation),
        *(exported, study),
    )
}


def three_corpora(tree: Tree) -> str:
    return "--input=" + ",".join(str(tree.inputs / n) for n in ("topics", "styles", "personas"))


def by_batch(tree: Tree, flags: tuple[str, ...]) -> int:
    """Runs a score, and has its batch files answered at each pause; returns how many there were."""
    moved = (tree.root / "synthdiv/offline").is_dir()
    module = "offline.answer" if moved else "llm.offline.answer"
    for pauses in range(MOST_PAUSES):
        if not tree.run("score", *flags, expect=None).count("paused: "):
            return pauses
        for asked in (tree.folder / "out").rglob("batch_*_requests*.jsonl"):
            told = asked.with_name(asked.name.replace("_requests", "_answers"))
            if not told.exists() or told.stat().st_mtime_ns < asked.stat().st_mtime_ns:
                tree.run(module, str(asked), str(told))
    raise SystemExit(f"{tree.folder}: more than {MOST_PAUSES} pauses")


def pretrain(tree: Tree, devices: int, *more: str) -> Any:
    mixture = f"--bind=Mixture.sources=[('{tree.inputs / 'tokens'}', 61_440)]"
    tree.run("pretrain", "--workdir=run", mixture, *TRAIN, *more, devices=devices)
    return losses(tree.folder / "run/metrics.jsonl")


def evaluated(tree: Tree, checkpoint: Path) -> Any:
    tree.run(
        "evaluate",
        f"--checkpoint={checkpoint}",
        "--tasks=world_facts",
        f"--data_dir={tree.inputs}",
        f"--corpus={tree.inputs / 'personas'}",
        "--output=results.json",
    )
    results = json.loads((tree.folder / "results.json").read_text())
    kept = ("results", "tasks", "accuracy", "stderr", "bits_per_byte", "corpora", "n-samples")
    return {name: results.get(name) for name in kept}


def score_directory(directory: Path) -> dict[str, Any]:
    """Everything that a score found: score.json and all its rounds."""
    import pyarrow.parquet as pq

    columns = pq.read_table(directory / "rounds.parquet").to_pydict()
    return {"score": json.loads((directory / "score.json").read_text()), "rounds": columns}


def score_directories(directory: Path) -> dict[str, Any]:
    """A comparison: each corpus's score, and what is said of them together."""
    found: dict[str, Any] = {"comparison": json.loads((directory / "comparison.json").read_text())}
    for score in sorted(directory.glob("*/score.json")):
        found[score.parent.name] = score_directory(score.parent)
    return found


def shards(directory: Path) -> dict[str, Any]:
    """The rows of a corpus, shard by shard."""
    import pyarrow.parquet as pq

    return {
        path.name: pq.read_table(path).to_pydict()
        for path in sorted(directory.glob("shard-*.parquet"))
    }


def losses(log: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def server(tree: Tree) -> Iterator[tuple[str, Callable[[], int]]]:
    """The loopback language-model server of a tree: its address, and how often it was asked."""
    import urllib.request

    process = subprocess.Popen(
        [sys.executable, str(tree.root / "tests/end_to_end/llm_server.py")],
        env=os.environ | {"PYTHONPATH": str(tree.root)},
        stdout=subprocess.PIPE,
    )

    def asked() -> int:
        with urllib.request.urlopen(address) as reply:
            return sum(json.load(reply).values())

    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield f"{address}/v1", asked
    finally:
        process.kill()
        process.wait()


def make_inputs(other: Path, keep: Path) -> Path:
    """What all runs read, made once by the other commit."""
    inputs = keep / "inputs"
    if (inputs / FINISHED).exists():
        return inputs
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    tree = Tree(other, inputs, inputs, keep / "other")
    families = {"topics": "topic", "styles": "topic_styles", "personas": "topic_styles_persona"}
    for seed, (name, family) in enumerate(families.items()):
        size = ("--bind=Generate.topics=24", "--bind=Generate.generations=10")
        how = ("--llm=offline", f"--family={family}", f"--seed={seed}")
        tree.run("generate", f"--output={name}", *how, *size)
    rows = [
        (question, options, answer)
        for columns in shards(inputs / "topics").values()
        for question, options, answer in zip(
            columns["question"], columns["options"], columns["answer"], strict=True
        )
    ]
    facts, chat = [], []
    for number, (question, options, answer) in enumerate(rows[:120]):
        choices = list(options)
        right = answer if isinstance(answer, int) else _index(str(answer), choices)
        facts.append(
            {"question": question, "choices": choices, "answer": right, "topic": f"t{number % 7}"}
        )
        told = {"role": "assistant", "content": choices[right]}
        chat.append({"messages": [{"role": "user", "content": question}, told]})
    for name, lines in (("world_facts.jsonl", facts), ("chat.jsonl", chat)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (inputs / name).write_text(text, encoding="utf-8")
    tokenizer = ("--tokenizer=bpe", "--bind=Tokenizer.vocab_size=1024", "--sequence_length=128")
    tree.run("tokenize", tree.corpus("topics"), "--output=tokens", "--workers=0", *tokenizer)
    mixture = f"--bind=Mixture.sources=[('{inputs / 'tokens'}', 61_440)]"
    tree.run("pretrain", "--workdir=model", mixture, *TRAIN)
    (inputs / FINISHED).write_text("{}")
    return inputs


def _index(answer: str, choices: list[str]) -> int:
    """The option that an answer means: its own words, or its letter."""
    return choices.index(answer) if answer in choices else "ABCDEFGH".index(answer.strip()[0])
