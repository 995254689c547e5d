"""A whole score by batch files: every step out of band, and the same score in the end."""

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from synthdiv.diversity import ScoreConfig, score_corpora
from synthdiv.diversity.criteria import criteria_json, criteria_of, given_basis
from synthdiv.errors import Paused
from synthdiv.files import Corpus
from synthdiv.llm import Awaiting, LLMConfig, open_session
from synthdiv.offline.answer import answer_file
from tests.llm.serving import environment

SUBJECTS = {
    "rivers": [
        "water",
        "river",
        "flood",
        "silt",
        "mountain",
        "sea",
        "bank",
        "current",
        "delta",
        "rain",
    ],
    "music": [
        "violin",
        "string",
        "bow",
        "orchestra",
        "tuning",
        "melody",
        "chord",
        "concert",
        "rhythm",
        "note",
    ],
    "bread": ["flour", "dough", "yeast", "oven", "crust", "knead", "salt", "loaf", "baker", "rise"],
}
CONFIG = ScoreConfig(
    rounds=12, criteria_rounds=4, criteria_sets=2, control_rounds=0, with_baselines=False
)


def corpus(path: Path) -> Path:
    draw = random.Random(4)
    with path.open("w") as file:
        for i in range(60):
            words = list(SUBJECTS.values())[i % 3]
            text = " ".join(draw.choice(words) for _ in range(40))
            file.write(json.dumps({"text": f"{text}. {text.title()}."}) + "\n")
    return path


def test_a_score_by_batch_files_equals_the_direct_one(tmp_path: Path) -> None:
    documents = Corpus(corpus(tmp_path / "corpus.jsonl"))
    with open_session(LLMConfig(), tmp_path / "direct" / "answers.sqlite") as session:
        direct = score_corpora([documents], tmp_path / "direct", CONFIG, session)
    directory = tmp_path / "batch"
    stages = []
    for _ in range(20):
        config = LLMConfig(backend="batch", model="any-model")
        with open_session(config, directory / "answers.sqlite") as session:
            try:
                batch = score_corpora([documents], directory, CONFIG, session)
                break
            except Paused as pause:
                assert "run the same command again" in str(pause)
        for requests in directory.glob("batch_*_requests.jsonl"):
            answers = Path(str(requests).replace("_requests", "_answers"))
            assert answer_file(requests, answers) > 0
            requests.unlink()
            stages.append(requests.name)
    assert len(stages) >= 5, stages  # the five steps of the procedure, and perhaps re-asks
    for key in ("score", "rounds", "clusters", "criteria", "corpus", "seed"):
        assert batch[key] == direct[key], key
    assert batch["judge"] == {"backend": "batch", "model": "any-model"}


def stages_of(directory: Path) -> list[str]:
    """Answers every file of requests that waits, and returns what they were for."""
    stages = []
    for requests in sorted(directory.glob("batch_*_requests*.jsonl")):
        assert answer_file(requests, Path(str(requests).replace("_requests", "_answers"))) > 0
        stages.append(requests.name.removeprefix("batch_").partition("_requests")[0])
        requests.unlink()
    return stages


def test_three_corpora_take_one_pause_a_stage(tmp_path: Path) -> None:
    """All corpora, repeats, agreement and the second judge wait together, in one file each."""
    inputs = [Corpus(corpus(tmp_path / f"{name}.jsonl")) for name in "abc"]
    config = replace(CONFIG, rounds=20, repeats=2, repeat_fraction=0.5, second_fraction=0.5)
    directory = tmp_path / "out"
    pauses, places = [], []
    for _ in range(20):
        with (
            open_session(LLMConfig("batch", "one"), directory / "answers.sqlite") as session,
            open_session(LLMConfig("batch", "two"), directory / "answers.sqlite") as second,
        ):
            try:
                found = score_corpora(inputs, directory, config, session, True, second)
                break
            except Awaiting as pause:
                stages = stages_of(directory)
                for stage in stages:
                    assert len(re.findall(rf"\d {stage} requests? ", str(pause))) == 1
                pauses.append(stages)
                places.append(str(pause).partition(": ")[0])
    assert places == [
        "step 1 of 5, criteria (then gathering, summary, clustering and verification)",
        "step 2 of 5, gathering (then summary, clustering and verification)",
        "step 3 of 5, summary (then clustering and verification)",
        "step 4 of 5, clustering (then verification)",
        "step 5 of 5, verification (the last, but for replies that have to be asked for again)",
    ]
    assert pauses == [
        ["criteria"],
        ["gather_metadata", "gather_metrics"],
        ["summary"],
        ["clustering", "second_clustering"],
        ["verification"],
    ]
    with open_session(LLMConfig(), None) as session, open_session(LLMConfig(), None) as second:
        direct = score_corpora(inputs, tmp_path / "direct", config, session, True, second)
    for name, score in direct.scores.items():
        assert found.scores[name]["score"] == score["score"]
        agreement = found.scores[name]["agreement"]
        assert agreement["test_retest"] == score["agreement"]["test_retest"]
        assert agreement["second_judge"]["ari"] == score["agreement"]["second_judge"]["ari"]
    assert found["differences"] == direct["differences"]


def test_corpora_without_a_comparison_wait_together_too(tmp_path: Path) -> None:
    inputs = [Corpus(corpus(tmp_path / f"{name}.jsonl")) for name in "abc"]
    pauses = []
    for _ in range(20):
        with open_session(LLMConfig("batch", "one"), tmp_path / "out/answers.sqlite") as session:
            try:
                score_corpora(inputs, tmp_path / "out", CONFIG, session)
                break
            except Awaiting:
                pauses.append(stages_of(tmp_path / "out"))
    assert len(pauses) == 5 and pauses[0] == ["criteria"] and pauses[-1] == ["verification"]


@pytest.mark.parametrize("prompts", ["prompts/score", "prompts/levels"])
def test_what_is_judged_by_can_be_read_before_the_costly_step(tmp_path: Path, prompts: str) -> None:
    documents = Corpus(corpus(tmp_path / "corpus.jsonl"))
    config = replace(CONFIG, prompts=prompts, coverage_documents=0)
    written = tmp_path / "out" / "criteria.json"
    while True:
        with (
            open_session(LLMConfig("batch", "one"), tmp_path / "out/answers.sqlite") as session,
            pytest.raises(Awaiting) as pause,
        ):
            score_corpora([documents], tmp_path / "out", config, session)
        stages = stages_of(tmp_path / "out")
        assert (
            written.exists()
            == (str(written) in str(pause.value))
            == (stages in (["clustering"], ["values"]))
        )
        if written.exists():
            break
    with open_session(LLMConfig("batch", "one"), tmp_path / "other/answers.sqlite") as session:
        again = replace(config, criteria=str(written), verify=False)
        with pytest.raises(Awaiting, match="^step 1 of 1, (clustering|values) "):
            score_corpora([documents], tmp_path / "other", again, session)
    (basis,) = given_basis(again)
    assert criteria_json(criteria_of(basis)) == json.loads(written.read_text())["criteria"]


def test_from_the_command_line(tmp_path: Path) -> None:
    arguments = [
        f"--input={corpus(tmp_path / 'corpus.jsonl')}",
        f"--output={tmp_path / 'out'}",
        "--llm=batch",
        "--model=any-model",
        "--rounds=12",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "synthdiv.score", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("paused: ")
    (requests,) = re.findall(r"\((\S+_requests\.jsonl) -> ", done.stderr)[:1]
    assert f"`vllm run-batch -i {requests} -o " in done.stderr, "as it can be pasted"
    assert Path(requests).exists()
    answers = requests.replace("_requests", "_answers")
    assert answers in done.stderr
    answered = subprocess.run(
        [sys.executable, "-m", "synthdiv.offline.answer", requests, answers],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not an LLM" in answered.stdout
    again = subprocess.run(
        [sys.executable, "-m", "synthdiv.score", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert again.returncode == 75, again.stderr
    (next_requests,) = re.findall(r"\((\S+_requests\.jsonl) -> ", again.stderr)[:1]
    assert next_requests != requests, "it went on to the next step"
    missing = subprocess.run(
        [sys.executable, "-m", "synthdiv.offline.answer", "none.jsonl", str(tmp_path / "x")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert missing.returncode == 2 and missing.stderr.startswith("error: cannot answer none.jsonl")
