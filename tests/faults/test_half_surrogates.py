"""Half a surrogate pair in an id, a provenance value, a criterion or a topic: written as "?"."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from synthdiv.files import Corpus

HALF = "half \ud800 pair"


def test_in_a_corpus_and_in_criteria(tmp_path: Path, run_command: Callable[..., Any]) -> None:
    rows = [
        {"id": f"{n} {HALF}", "text": f"river number {n} {HALF}", HALF: [HALF, {"a": HALF}]}
        for n in range(30)
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    criteria = tmp_path / "criteria.json"
    one = {"name": HALF, "kind": "metadata", "sentence": HALF}
    criteria.write_text(json.dumps([one]))
    for more in ([], [f"--criteria={criteria}"]):
        output = tmp_path / f"out{len(more)}"
        ended = run_command(
            *("score", f"--input={corpus}", f"--output={output}", "--rounds=20", *more),
            "--bind=Score.with_baselines=False",
        )
        assert ended.code == 0, ended.stderr
        shown = pq.read_table(output / "documents.parquet").to_pylist()[0]
        assert shown["id"].endswith("half ? pair") and "half ? pair" in shown["provenance"]
    told = json.loads((output / "score.json").read_text())["criteria"]
    assert told[0]["name"] == "half ? pair"


def test_in_topics(tmp_path: Path, run_command: Callable[..., Any]) -> None:
    topics = tmp_path / "topics.jsonl"
    row = {"path": [f"rivers {HALF}"], "keywords": [f"silt {HALF}", "flood"]}
    topics.write_text(json.dumps(row) + "\n")
    output = tmp_path / "corpus"
    ended = run_command(
        *("generate", f"--output={output}", f"--topics={topics}"),
        *("--bind=Generate.topics=1", "--bind=Generate.generations=2"),
    )
    assert ended.code == 0, ended.stderr
    documents = list(Corpus(output))
    assert documents and all("half ? pair" in str(one.provenance) for one in documents)
