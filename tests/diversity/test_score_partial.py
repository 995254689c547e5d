"""Runs that a cap stops: a result of the rounds so far, marked as partial, and how they go on."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from synthdiv import cli
from synthdiv import config as configuration
from synthdiv.baselines import BaselineConfig
from synthdiv.diversity import (
    ComparisonResult,
    PartialScore,
    ScoreResult,
    cluster_score,
    score_corpora,
)
from synthdiv.diversity.estimate import estimate
from synthdiv.errors import Paused
from synthdiv.files import Corpus
from synthdiv.llm import LLMConfig, Session
from synthdiv.llm.money import FREE, Price
from tests.conftest import Ended
from tests.diversity.judges import SMALL, JudgeBackend, cluster_reply, label_judge, verdicts_reply

WORDS = (
    "river", "stone", "cloud", "engine", "violin", "harbour", "lantern", "meadow", "oven",
)  # fmt: skip
CONFIG = replace(SMALL, rounds=60)
LIGHT = [
    "--llm=offline", "--rounds=60", "--bind=Score.criteria_rounds=8",
    "--bind=Score.criteria_sets=4", "--bind=Score.bootstrap=200",
    "--bind=Baseline.metrics=('context_length',)",
]  # fmt: skip


NO_BASELINES = "--bind=Score.with_baselines=False"


def make(path: Path, subjects: int = 8, documents: int = 150) -> Path:
    draw = np.random.default_rng(subjects)
    with path.open("w") as file:
        for number in range(documents):
            word = WORDS[draw.integers(subjects)]
            text = " ".join(f"{word}{draw.integers(6)}" for _ in range(30))
            file.write(json.dumps({"text": f"{text} {number}"}) + "\n")
    return path


def judge() -> JudgeBackend:
    """Sorts by first word; rejects every cluster of three, so that verdicts matter."""
    found = label_judge(lambda text: text.split()[0][:-1])
    found.answers["Verification"] = lambda texts: verdicts_reply(
        [block.split("Documents: ")[1].split("\n")[0].count(",") != 2 for block in texts["cluster"]]
    )
    return found


def session(store: Path | None, max_calls: int | None = None, **settings) -> Session:
    return Session(LLMConfig(max_calls=max_calls, **settings), judge(), FREE, store)


def go_on(run_command: Callable[..., Ended], stopped: Ended) -> Ended:
    """Runs the command that a stopped run told."""
    assert stopped.code == 75, stopped.stderr
    assert stopped.stdout == ""
    (line,) = stopped.stderr.splitlines()
    program, *words = shlex.split(line.partition(" higher limit to go on: ")[2])
    assert program == "synthdiv"
    return run_command(*words)


def comparable(result: ScoreResult | ComparisonResult | dict) -> dict:
    content = result if isinstance(result, dict) else result.to_json()
    varying = ("calls", "tokens", "cost_usd", "config", "made")
    return {k: v for k, v in content.items() if k not in varying}


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_a_cap_leaves_a_partial_score_and_the_command_that_goes_on(tmp_path, run_command):
    corpus = make(tmp_path / "corpus.jsonl")
    whole = run_command("score", f"--input={corpus}", f"--output={tmp_path / 'whole'}", *LIGHT)
    assert whole.code == 0, whole.stderr
    output = tmp_path / "a directory" / "out"
    stopped = run_command(
        "score", f"--input={corpus}", f"--output={output}", *LIGHT, "--fresh",
        "--max_calls", "90",
    )  # fmt: skip
    score = read(output / "score.json")
    partial = score["partial"]
    answered = partial["rounds_answered"]
    assert 20 <= answered < 60 == partial["rounds_planned"] == score["rounds"]["requested"]
    assert score["rounds"]["completed"] == answered
    low, high = score["score"]["ci95"]
    words = (
        rf"^paused: {answered} of 60 rounds are answered, their PARTIAL score in {output} is"
        rf" {score['score']['mean']:.3f} \[{low:.3f}, {high:.3f}\]; the next call could exceed"
        rf" --max_calls=90 \(90 calls are behind {output}/answers\.sqlite, 0 calls left\); run the"
        r" same command again with a higher limit to go on: synthdiv score "
    )
    assert re.match(words, stopped.stderr), stopped.stderr
    assert f"--max_calls={partial['go_on_with']['max_calls']}\n" in stopped.stderr
    assert "--fresh" not in stopped.stderr and "--max_calls 90" not in stopped.stderr
    page = (output / "report.html").read_text()
    top = page[: page.index('<section id="score"')]
    assert "<title>Partial: Diversity of corpus</title>" in top
    assert f"<strong>A partial result.</strong> {answered} of 60 rounds are answered" in top
    assert "It stopped because the next call could exceed `max_calls=90`" in top
    assert page.count("LLM cluster score (partial)") == 1

    done = go_on(run_command, stopped)
    assert done.code == 0, done.stderr
    assert f"page: {output}/report.html\n" in done.stdout
    assert done.stdout.replace(str(output), str(tmp_path / "whole")) == whole.stdout
    for name in ("rounds.parquet", "documents.parquet"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert comparable(read(output / "score.json")) == comparable(
        read(tmp_path / "whole" / "score.json")
    )
    page = (output / "report.html").read_text()
    assert "<title>Diversity of corpus" in page and "partial result" not in page.lower()
    calls = read(output / "score.json")["calls"]
    assert (
        calls["cached"] >= 90
        and calls["sent"] + 90 == read(tmp_path / "whole" / "score.json")["calls"]["sent"]
    )


def test_a_comparison_says_how_far_it_got(tmp_path, run_command):
    inputs = ",".join(str(make(tmp_path / f"{name}.jsonl", n)) for name, n in (("a", 3), ("b", 9)))
    arguments = ("score", f"--input={inputs}", "--compare", *LIGHT[:-1], NO_BASELINES)
    whole = run_command(*arguments, f"--output={tmp_path / 'whole'}")
    assert whole.code == 0, whole.stderr
    output = tmp_path / "out"
    stopped = run_command(*arguments, f"--output={output}", "--max_calls=220")
    content = read(output / "comparison.json")
    assert list(content["partial"]["corpora"]) == ["b"] and content["partial"]["missing"] == []
    assert len(content["differences"]) == 1
    assert "1 of 2 corpora are scored" in stopped.stderr
    top = (output / "report.html").read_text().partition("<section")[0]
    assert re.search(r"Of b, \d+ of 60 rounds are answered", top)
    assert "partial" not in read(output / "a" / "score.json")
    assert "partial" in read(output / "b" / "score.json")
    done = go_on(run_command, stopped)
    assert done.code == 0, done.stderr
    assert done.stdout.replace(str(output), str(tmp_path / "whole")) == whole.stdout
    assert comparable(read(output / "comparison.json")) == comparable(
        read(tmp_path / "whole" / "comparison.json")
    )


@pytest.mark.parametrize("concurrency", [1, 5, 64])
def test_a_partial_score_is_that_of_the_first_rounds(tmp_path, concurrency):
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    with session(None) as asking:
        cluster_score(corpus, CONFIG, asking, tmp_path / "whole")
    every = pq.read_table(tmp_path / "whole" / "rounds.parquet").to_pylist()
    with session(None, 90, concurrency=concurrency) as asking:
        with pytest.raises(PartialScore) as stopped:
            cluster_score(corpus, CONFIG, asking, tmp_path / "cut")
        assert asking.stats["calls"]["sent"] == 90
    result = stopped.value.result
    answered = result["partial"]["rounds_answered"]
    rows = pq.read_table(tmp_path / "cut" / "rounds.parquet").to_pylist()
    assert rows == every[:answered] and 25 < answered < 45
    scores, sets = (np.array([row[k] for row in rows], float) for k in ("score", "criteria_set"))
    found = estimate(scores, sets, CONFIG.bootstrap, CONFIG.seed)
    assert result["score"]["mean"] == found.mean
    assert result["score"]["ci95"] == [found.low, found.high]
    assert json.loads(json.dumps(result.to_json())) == read(tmp_path / "cut" / "score.json")
    assert result["partial"]["missing"] == ["rounds"]


def test_under_a_cap_that_is_not_reached_all_is_the_same(tmp_path):
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    results = []
    for cap in (None, 10_000):
        with session(None, cap) as asking:
            results.append(cluster_score(corpus, CONFIG, asking))
    assert results[0].to_json() == results[1].to_json() and results[1].partial is None


def test_too_few_rounds_make_no_score(tmp_path):
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    for cap, words in ((3, "no round is answered yet"), (30, "rounds are answered, too few for")):
        with session(None, cap) as asking, pytest.raises(Paused, match=words) as stopped:
            cluster_score(corpus, CONFIG, asking, tmp_path / "out")
        assert not isinstance(stopped.value, PartialScore)
        assert stopped.value.flags["max_calls"] > cap
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_cap_among_the_questions_of_agreement_leaves_the_score_whole(tmp_path):
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    config = replace(CONFIG, repeat_fraction=0.5)
    with session(tmp_path / "a.sqlite") as asking:
        whole = cluster_score(corpus, config, asking)
        sent = asking.stats["calls"]["sent"]
    store = tmp_path / "b.sqlite"
    with session(store, sent - 10) as asking, pytest.raises(PartialScore) as stopped:
        cluster_score(corpus, config, asking)
    result = stopped.value.result
    assert str(stopped.value).startswith("the score is whole, its agreement figures are not;")
    assert result["score"] == whole["score"] and "test_retest" not in result["agreement"]
    assert result["partial"]["missing"] == ["agreement"]
    with session(store, stopped.value.flags["max_calls"]) as asking:
        assert comparable(cluster_score(corpus, config, asking)) == comparable(whole)


@pytest.mark.parametrize("settings", [{"repeats": 3, "rounds": 25}, {"target_ci": 0.01}])
def test_repeats_and_early_stopping_are_cut_too(tmp_path, settings):
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    config = replace(CONFIG, block_rounds=6, look_rounds=12, **settings)
    with session(None) as asking:
        whole = cluster_score(corpus, config, asking)
    store = tmp_path / "b.sqlite"
    cap = 100
    for _ in range(10):
        try:
            with session(store, cap) as asking:
                result = cluster_score(corpus, config, asking)
            break
        except PartialScore as stopped:
            found = stopped.result
            assert found["rounds"]["completed"] == found["partial"]["rounds_answered"] >= 20
            if config.repeats > 1:
                assert 1 <= len(found["repeats"]["means"]) <= 3
            cap += 40
    assert cap > 100 and comparable(result) == comparable(whole)


def test_one_cap_holds_for_two_judges_together(tmp_path, monkeypatch):
    """The second judge's calls are capped by the same flags, in the same store."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    flags = cli.command("")
    cli.judge_flags(flags)
    flags(["score", "--max_calls=7", "--max_cost_usd=0.5", "--llm=offline", "--fresh"])
    config = configuration.load((LLMConfig,), [], [])
    with cli.open_session(flags, config, tmp_path) as first:
        pass
    with cli.open_session(flags, config, tmp_path, "openai:gpt-4o-mini") as second:
        assert (second.backend, second.model) == ("openai", "gpt-4o-mini")
    assert (second.config.max_calls, second.config.max_cost_usd) == (7, 0.5)
    assert second._path == first._path


def test_a_cap_in_dollars(tmp_path):
    """What the judge charges stays below the cap, and the higher cap that is told is enough."""
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    price = Price(10**6, 10**6, 10**6)  # a dollar for a million tokens; the judge reports 10 + 10
    with Session(LLMConfig(), judge(), price, None) as asking:
        whole = cluster_score(corpus, CONFIG, asking)
    store, cap, stops = tmp_path / "b.sqlite", 0.011, 0
    while True:
        with Session(LLMConfig(max_cost_usd=cap), judge(), price, store) as asking:
            try:
                result = cluster_score(corpus, CONFIG, asking)
                break
            except Paused as pause:
                stops += 1
                assert stops < 12, pause
                assert pause.flags["max_cost_usd"] > asking.stats["cost_usd"]
                assert f"`max_cost_usd={cap:g}`" in str(pause)
                cap = max(pause.flags["max_cost_usd"], cap + 0.0002)
    assert stops and comparable(result) == comparable(whole)


def test_several_corpora_without_a_comparison(tmp_path):
    inputs = [Corpus(make(tmp_path / f"{name}.jsonl", n)) for name, n in (("a", 3), ("b", 9))]
    with session(None, 230) as asking, pytest.raises(PartialScore) as stopped:
        score_corpora(inputs, tmp_path / "out", CONFIG, asking)
    content = stopped.value.result.to_json()
    assert content == read(tmp_path / "out" / "comparison.json")
    assert list(content["corpora"]) == ["a", "b"]
    assert list(content["partial"]["corpora"]) == ["b"]
    with session(None, 150) as asking, pytest.raises(PartialScore) as stopped:
        score_corpora(inputs, tmp_path / "out2", CONFIG, asking)
    assert stopped.value.result["partial"]["missing"] == ["b"]
    assert str(stopped.value).startswith("1 of 2 corpora are scored")


def test_a_comparison_of_the_corpora_that_have_a_score(tmp_path):
    config = replace(CONFIG, with_baselines=True, baselines=BaselineConfig(("context_length",)))
    inputs = [Corpus(make(tmp_path / f"{name}.jsonl", n)) for name, n in (("a", 3), ("b", 9))]
    with session(None, 100) as asking, pytest.raises(PartialScore) as stopped:
        score_corpora(inputs, tmp_path / "out", config, asking, compare=True)
    content = read(tmp_path / "out" / "comparison.json")
    assert list(content["matched_baselines"]["corpora"]) == ["a"]
    assert list(content["corpora"]) == ["a"] == list(content["partial"]["corpora"])
    assert content["partial"]["missing"] == ["b"] and content["differences"] == []
    words = str(stopped.value)
    assert words.startswith("0 of 2 corpora are scored, the PARTIAL comparison is in")
    top = (tmp_path / "out" / "report.html").read_text().partition("<section")[0]
    assert "A partial result." in top and "Nothing is answered yet of b." in top


def test_every_reply_of_a_failing_judge_is_an_answer(tmp_path):
    """Rounds whose replies are of no use count as answered, so the run does not wait for them."""
    broken = judge()
    broken.answers["Clustering"] = lambda texts: (
        cluster_reply([[n + 1] for n in range(len(texts["document"]))])
        if len("".join(texts["document"])) % 2
        else "no JSON"
    )
    corpus = Corpus(make(tmp_path / "c.jsonl"))
    asking = Session(LLMConfig(max_calls=100), broken, FREE, None)
    with asking, pytest.raises(PartialScore) as stopped:
        cluster_score(corpus, CONFIG, asking)
    rounds = stopped.value.result["rounds"]
    assert rounds["invalid"] > 0 and rounds["completed"] > 0
