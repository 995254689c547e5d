"""The tables of docs/scaling.md: what training, studies and generation cost at larger sizes.

    python benchmarks/scaling.py                   # all tables
    python benchmarks/scaling.py training network  # some

Computed from the plans that --dry_run prints (configs/devices.json has speeds and prices) and, for
what runs on processors, from what benchmarks/processors.py measured. Each table is Markdown.
"""

import argparse
import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from synthdiv import config as configuration  # noqa: E402
from synthdiv.training.hardware import device_named  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "benchmarks" / "processors.json"
MFU = 0.4  # stated, not measured
ALONE = 0.5  # where nothing is sent; stated too
LENGTH = 2048
# Tokens of one pass and sequences of a batch: the paper's, and a trillion in batches of 4M tokens.
RUNS = {"350m": (50e9, 256), "1b4": (150e9, 128), "7b": (1e12, 2048)}
# "SmolLM2-1.7B-Instruct" under vLLM with speculative decoding, 100 H100, 1.35 billion samples
# (Hugging Face, "The Synthetic Data Playbook", March 2026): the best that is published.
PUBLISHED = {"tokens_a_second": 9_200, "tokens_a_sample": 359, "gpus": 100, "device": "h100"}


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def model_of(name: str, **changes: object):
    from synthdiv.model import ModelConfig

    found = configuration.load([ModelConfig], [f"configs/model/{name}.gin"]).get(ModelConfig)
    return dataclasses.replace(found, **changes)


def planned(name: str, device: str, count: int, mesh, batch: int, mfu: float = MFU) -> dict:
    """The figures of a plan, with the settings that fit where those as asked do not."""
    from synthdiv.training import OptimizerConfig
    from synthdiv.training.fitting import fitting
    from synthdiv.training.plan import Target, plan
    from synthdiv.training.step import StepConfig

    step = StepConfig(model_of(name), OptimizerConfig())
    found = fitting(step, mesh, device_named(device), count, batch, LENGTH)
    if found is None:
        return {}
    step, mesh = found
    steps = math.ceil(RUNS[name][0] / (batch * LENGTH))
    figures = plan(step, mesh, batch, LENGTH, steps, Target(device, count, mfu)).figures
    return figures | {"remat": step.model.remat, "accumulate": step.accumulate}


def near_mesh(device: str, count: int):
    """Weights cut over linked devices, copies of them beyond."""
    from synthdiv.training import MeshConfig

    fsdp = min(count, device_named(device).linked, 64)
    return MeshConfig(count // fsdp, fsdp, 1)


def mesh_words(figures: dict) -> str:
    return " x ".join(str(size) for size in figures["mesh"].values())


def training() -> str:
    """What one run costs on 8, 64 and 512 devices."""
    rows = []
    for name, (tokens, batch) in RUNS.items():
        for device in ("a100", "h100", "v5p"):
            for count in (8, 64, 512):
                figures = planned(name, device, count, near_mesh(device, count), batch)
                start = [
                    f"{name}, {tokens / 1e9:,.0f}B tokens",
                    f"{count} {device_named(device).name}",
                ]
                if not figures:
                    rows.append([*start, "does not go", *[""] * 6])
                    continue
                step = batch * LENGTH / figures["tokens_per_second"]
                sending = figures["network_seconds_per_step"] / step
                rows.append(
                    [
                        *start,
                        mesh_words(figures),
                        figures["accumulate"],
                        f"{figures['bytes_per_device'] / 1e9:,.0f} GB",
                        f"{100 * sending:,.0f}%",
                        f"{figures['tokens_per_second']:,.0f}",
                        f"{figures['hours']:,.1f}",
                        f"{figures['usd']:,.0f}",
                    ]
                )
    head = [
        "run",
        "devices",
        "data x fsdp x tensor",
        "micro-batches",
        "memory a device",
        "sending",
    ]
    return markdown([*head, "tokens/s", "hours", "USD"], rows)


def network() -> str:
    """What devices send each other, and what it costs the MFU at most."""
    from synthdiv.training import MeshConfig

    rows = []
    for name, device, mesh, each in (
        ("1b4", "h100", (1, 8, 1), 16),
        ("1b4", "h100", (8, 8, 1), 16),
        ("1b4", "h100", (1, 64, 1), 16),
        ("1b4", "h100", (8, 8, 1), 2),
        ("7b", "h100", (1, 8, 1), 4),
        ("7b", "h100", (8, 8, 1), 4),
        ("7b", "h100", (1, 64, 1), 4),
        ("1b4", "v5p", (1, 8, 1), 8),
        ("1b4", "v5p", (1, 64, 1), 8),
        ("7b", "v5p", (1, 64, 1), 8),
        ("7b", "v5p", (1, 512, 1), 8),
    ):
        count = math.prod(mesh)
        figures = planned(name, device, count, MeshConfig(*mesh), each * count, ALONE)
        step = figures["batch_size"] * LENGTH / figures["tokens_per_second"]
        seconds = figures["network_seconds_per_step"]
        rows.append(
            [
                name,
                f"{count} {device_named(device).name}",
                mesh_words(figures),
                each,
                figures["accumulate"],
                f"{figures['sent_bytes_per_step'] / 1e9:,.1f} GB",
                f"{1e3 * seconds:,.0f} of {1e3 * step:,.0f} ms",
                f"{100 * ALONE * step / (step + seconds):.1f}%",
            ]
        )
    head = [
        "model",
        "devices",
        "data x fsdp x tensor",
        "sequences a device",
        "micro-batches",
        "sent a step",
    ]
    return markdown([*head, "takes", "MFU if nothing is hidden"], rows)


def limits() -> str:
    """The number of H100 from which each thing goes wrong, the batch being what it is."""
    rows = []
    for name, (_, batch) in RUNS.items():
        first: dict[str, int] = {}
        for power in range(0, 13):
            count = 2**power
            figures = planned(name, "h100", count, near_mesh("h100", count), batch)
            if not figures:
                if power:
                    first.setdefault("none", count)
                continue
            step = batch * LENGTH / figures["tokens_per_second"]
            if figures["mesh"]["tensor"] > 1:
                first.setdefault("tensor", count)
            if figures["network_seconds_per_step"] > step:
                first.setdefault("network", count)
        said = (first.get(key, "never") for key in ("network", "tensor", "none"))
        rows.append([name, f"{batch:,} sequences", *said])
    head = ["model", "batch", "network longer than step", "tensor parallelism", "nothing goes"]
    return markdown(head, rows)


STUDIES = ("paper_topics", "paper_prompts", "paper_generators", "paper_ratio")


def paper() -> str:
    """The paper's studies, run by run, on 8, 64 and 512 devices; a run has 16 or 32 of them."""
    from synthdiv.study.budget import budget
    from synthdiv.study.config import TARGETS, read_plan

    rows = []
    for device in ("a100", "h100", "v5p"):
        tasks: list[tuple[int, float]] = []  # devices, hours
        alone = device_named(device)
        for name in STUDIES:
            study = read_plan(configuration.load(TARGETS, [f"configs/study/{name}.gin"]))
            parts = budget(study, {}, device, MFU, 1, {})
            runs = len(study.cells) * len(study.seeds)
            for line in parts["training"].figures.values():
                wanted = 32 if line["parameters"] > 1e9 else 16
                tasks += [(wanted, line["chip_hours"])] * runs
        whole = sum(hours for _, hours in tasks)
        spans = [f"{_span(tasks, count) / 24:,.1f}" for count in (8, 64, 512)]
        usd = whole * (alone.usd_per_hour or math.nan)
        rows.append([alone.name, len(tasks), f"{whole:,.0f}", *spans, f"{usd:,.0f}"])
    head = ["device", "runs", "device-hours", "days on 8", "on 64", "on 512", "USD"]
    return markdown(head, rows)


def _span(tasks: Sequence[tuple[int, float]], count: int) -> float:
    """Hours until all runs are done, the longest first, each on devices of its own."""
    most = max(wanted for wanted, _ in tasks)
    groups = [0.0] * max(1, count // most)
    for _, hours in sorted(tasks, key=lambda task: -task[1]):
        free = groups.index(min(groups))
        groups[free] += hours / min(count, most)
    return max(groups)


def score() -> str:
    """What a score costs, whatever the size of the corpus."""
    from synthdiv.diversity import ScoreConfig
    from synthdiv.diversity.planning import plan_score
    from synthdiv.files import Corpus
    from synthdiv.llm import LLMConfig, open_session

    corpus = Corpus([" ".join([f"{n}", *["word"] * 399]) for n in range(64)])
    judge = LLMConfig(backend="openai", model="gpt-4o-mini", speed="20 requests/s")
    rows = []
    with open_session(judge, None, asking=False) as session:
        for rounds in (100, 1_000, 5_000):
            plan = plan_score([corpus], ScoreConfig(rounds=rounds), session)
            assert plan.cost_usd is not None and plan.hours is not None
            rows.append(
                [
                    f"{rounds:,}",
                    f"{plan.calls:,}",
                    f"{sum(stage.input for stage in plan.stages) / 1e6:,.2f} M",
                    f"{sum(stage.output for stage in plan.stages) / 1e6:,.2f} M",
                    f"{plan.cost_usd:,.2f}",
                    f"{plan.hours:,.2f}",
                ]
            )
    head = ["rounds", "calls", "tokens read", "written", "USD, gpt-4o-mini", "hours at 20 calls/s"]
    return markdown(head, rows)


def billion() -> str:
    """A billion generated tokens an hour: calls, servers, clients, bytes and money."""
    from synthdiv.generation import CorpusPlan, GenerateConfig
    from synthdiv.llm import LLMConfig, open_session

    server, cost = device_named(str(PUBLISHED["device"])), json.loads(MEASURED.read_text())
    how_fast = (ROOT / "docs" / "llm.md").read_text()
    cpu_ms = float(re.findall(r"\| a session: .* \| [\d,]+ \| ([\d.]+) \|", how_fast)[0])
    kinds = {"published: rephrased pages": (float(PUBLISHED["tokens_a_sample"]), 0.0)}
    topics = configuration.find("configs/topics/seeds.jsonl")
    for family in ("topic", "topic_styles_persona"):
        plan = CorpusPlan(topics, GenerateConfig(family=family, topics=20, generations=1))
        with open_session(LLMConfig(), None, asking=False) as session:
            (stage,) = session.plan({family: [plan.request(n) for n in range(20)]}).stages
        kinds[f"ours: {family}"] = (stage.output / 20, stage.input / 20)
    rows = []
    for kind, (written, read) in kinds.items():
        calls = 1e9 / written
        servers = math.ceil(1e9 / 3600 / PUBLISHED["tokens_a_second"])
        usd = servers * (server.usd_per_hour or math.nan)
        cores = calls / 3600 * cpu_ms / 1000
        rows.append(
            [
                kind,
                f"{written:,.0f}",
                f"{read:,.0f}" if read else "a page",
                f"{calls:,.0f}",
                f"{calls / 3600:,.0f}",
                f"{servers} {server.name}",
                f"{usd:,.0f}",
                f"{cores:,.1f}",
                f"{calls * cost['store_bytes_a_call'] / 1e9:,.1f} GB",
            ]
        )
    head = ["texts", "tokens written a call", "read", "calls an hour", "calls a second", "servers"]
    return markdown([*head, "USD", "cores that send", "store an hour"], rows)


def documents() -> str:
    """Processor time and disk of what runs on processors, from what two sizes took here."""
    cost = json.loads(MEASURED.read_text())
    rows = []
    for name, one in cost["commands"].items():
        hours = [
            (one["fixed_cpu_seconds"] + one["cpu_seconds_a_document"] * number) / 3600
            for number in (1e5, 1e6, 24.8e6)
        ]
        rows.append([name, *(f"{h:,.2f}" for h in hours), f"{hours[-1] / 64:,.2f}"])
    kept = cost["corpus_bytes_a_document"] * 24.8e6 / 1e9
    rows.append(["disk of the corpus", "", "", f"{kept:,.1f} GB", ""])
    head = ["CPU hours", "100,000 documents", "1,000,000", "24,800,000", "hours on 64 cores"]
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (training, network, limits, paper, score, billion, documents)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], metavar="TABLE")
    asked = parser.parse_args()
    for name in asked.tables or TABLES:
        if len(asked.tables) != 1:
            print(f"\n{name}: {TABLES[name].__doc__}\n")
        print(TABLES[name]())


if __name__ == "__main__":
    main()
