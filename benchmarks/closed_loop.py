"""Documents that a steered corpus needs to reach a target, beside one in the plan's order.

    python benchmarks/closed_loop.py --output=loop.json               # 10 seeds, two targets
    python benchmarks/closed_loop.py --seeds=2 --targets=14           # a look at it

The writer and the judge are the offline stand-ins. The topics are of unequal richness, as lists
taken from pages are: half of the fields have two dozen subjects, a topic each; the other half have
four, told as eighteen topics each ("Knitting: origins", "Knitting: tools", ...), and so hold three
quarters of all topics. All ways use the same plan, judge, rounds, waves and stopping rule: "plan"
takes topics in the plan's order, "even" every field in turn, and "learned" lets the bandit choose
fields. The loop is told neither the subjects nor which fields are rich. --limit=N writes N
documents each way without a target, to see what each tends to. Prints JSON.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from synthdiv import files  # noqa: E402
from synthdiv.config import find, load  # noqa: E402
from synthdiv.diversity import ScoreConfig  # noqa: E402
from synthdiv.generation import (  # noqa: E402
    GenerateConfig,
    LoopConfig,
    Topic,
    grow,
    read_topics,
)
from synthdiv.llm import LLMConfig, open_session  # noqa: E402

RICH, POOR = 24, 4  # subjects of a rich and of a poor field
ASPECTS = (
    *("origins", "tools", "practice", "customs", "people", "places", "words", "costs", "errors"),
    *("seasons", "materials", "rules", "schools", "trade", "fame", "decline", "revival", "records"),
)
BOUND = 1500  # documents at which a run is given up


def unequal(topics: list[Topic]) -> list[tuple[Topic, str]]:
    """Topics of unequal richness out of the installed ones, each with its subject."""
    fields: dict[str, list[Topic]] = {}
    for topic in topics:
        fields.setdefault(topic.path[0], []).append(topic)
    found = []
    for number, field in enumerate(sorted(f for f in fields if len(fields[f]) >= POOR)):
        if number % 2 == 0:
            found += [(topic, topic.key) for topic in fields[field][:RICH]]
            continue
        for topic in fields[field][:POOR]:
            for aspect in ASPECTS:
                told = Topic((*topic.path[:-1], f"{topic.path[-1]}: {aspect}"), topic.keywords)
                found.append((told, topic.key))
    return found


def run(job: tuple[int, float, str, int]) -> dict[str, object]:
    """One corpus: how many documents it took, and what is in it."""
    seed, target, way, bound = job
    world = unequal(read_topics(find("configs/topics/seeds.jsonl")))
    subject = {topic.key: name for topic, name in world}
    with tempfile.TemporaryDirectory() as directory:
        seeds = Path(directory) / "topics.jsonl"
        rows = ({"path": t.path, "keywords": t.keywords} for t, _ in world)
        seeds.write_text("\n".join(map(json.dumps, rows)))
        config = load([GenerateConfig, LoopConfig, ScoreConfig], ["configs/generate/loop.gin"])
        loop = config.get(
            LoopConfig,
            steer=way,
            depth=1,
            documents=bound,
            target_effective_clusters=target,
            patience=BOUND,
        )
        output = Path(directory) / "corpus"
        with open_session(LLMConfig(), output / "answers.sqlite") as session:
            manifest = grow(
                seeds,
                output,
                config.get(GenerateConfig, seed=seed),
                loop,
                config.get(ScoreConfig, seed=seed),
                session,
                session,
            )
        counts = Counter(subject[one.provenance["topic"]] for one in files.Corpus(output))
    total = counts.total()
    return {
        "seed": seed,
        "target": target,
        "way": way,
        "documents": manifest["documents"],
        "reached": manifest["loop"]["reason"].startswith("the target"),
        "measured": manifest["loop"]["reached"]["mean"],
        "rounds": manifest["loop"]["reached"]["rounds"],
        "subjects": len(counts),
        "effective_subjects": total**2 / sum(n * n for n in counts.values()),
    }


def summary(runs: list[dict], target: float) -> dict[str, object]:
    """The ways at one target; documents over those of the last way, with a paired bootstrap."""
    found: dict[str, dict[str, object]] = {}
    by_way: dict[str, list[dict]] = {}
    for one in sorted(runs, key=lambda r: r["seed"]):
        if one["target"] == target:
            by_way.setdefault(one["way"], []).append(one)
    last = np.array([one["documents"] for one in [*by_way.values()][-1]])
    drawn = np.random.default_rng(0).integers(len(last), size=(10_000, len(last)))
    for way, of in by_way.items():
        documents = np.array([one["documents"] for one in of])
        ratios = documents[drawn].mean(1) / last[drawn].mean(1)
        found[way] = {
            "documents": float(documents.mean()),
            "range": [int(documents.min()), int(documents.max())],
            "reached": sum(bool(one["reached"]) for one in of),
            **{
                name: float(np.mean([one[name] for one in of]))
                for name in ("measured", "rounds", "effective_subjects")
            },
            "ratio": float(documents.mean() / last.mean()),
            "ci95": np.quantile(ratios, [0.025, 0.975]).tolist(),
        }
    return {"target": target, **found}


def main() -> None:
    """Runs all jobs and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--targets", default="14,18")
    parser.add_argument("--ways", default="learned,plan")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", default=None)
    given = parser.parse_args()
    targets = [float(target) for target in given.targets.split(",")]
    seeds, ways = range(given.seeds), given.ways.split(",")
    jobs = [(seed, t, way, BOUND) for t in targets for seed in seeds for way in ways]
    if given.limit:
        targets = [float(given.limit)]  # n documents have fewer effective clusters than n
        jobs = [(seed, targets[0], way, given.limit) for seed in seeds for way in ways]
    with ProcessPoolExecutor(given.workers) as pool:
        runs = list(pool.map(run, jobs))
    result = {
        "bound": BOUND,
        "targets": [summary(runs, target) for target in targets],
        "runs": runs,
    }
    print(json.dumps(result, indent=2))
    if given.output:
        files.write_json(given.output, result)


if __name__ == "__main__":
    main()
