"""A corpus that grows in waves: to its target, no further, and the same whatever interrupts it."""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from synthdiv import files
from synthdiv.config import find
from synthdiv.diversity import ScoreConfig
from synthdiv.diversity.growing import WaveRound
from synthdiv.errors import Paused, UserError
from synthdiv.generation import GenerateConfig, LoopConfig, grow, plan_growth
from synthdiv.generation.scout import Scout
from synthdiv.generation.waves import Wave, read_waves
from synthdiv.llm import LLMConfig, Session, open_session
from synthdiv.llm.money import FREE
from synthdiv.offline.backend import OfflineBackend

SEEDS = find("configs/topics/seeds.jsonl")
SCORE = ScoreConfig(documents_per_round=6, criteria_rounds=4, criteria_sets=2, control_rounds=20)
LOOP = LoopConfig(wave=15, rounds=6, depth=1, target_effective_clusters=12)


def make(output, loop=LOOP, score=SCORE, llm=None, **settings):
    config = GenerateConfig(**({"topics": 40, "generations": 3, "shard_documents": 10} | settings))
    with open_session(llm or LLMConfig(), output / "answers.sqlite") as session:
        return grow(SEEDS, output, config, loop, score, session, session)


def shards(output):
    return {path.name: path.read_bytes() for path in sorted(output.glob("shard-*.parquet"))}


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    output = tmp_path_factory.mktemp("grown") / "corpus"
    return output, make(output)


def test_a_corpus_grows_to_its_target_and_says_so(grown):
    output, manifest = grown
    told = manifest["loop"]
    assert told["reason"].startswith("the target is reached") and told["target"] == 12
    assert told["reached"]["low"] >= 12
    waves = read_waves(output)
    assert len(waves) == told["waves"] and waves[-1].end == manifest["documents"]
    rows = [one.provenance for one in files.Corpus(output)]
    assert [row["request"] for row in rows] == [n for wave in waves for n in wave.requests]
    assert [row["arm"] for row in rows] == [row["topic"].split("/")[0] for row in rows]
    assert {row["wave"] for row in rows} == set(range(len(waves)))
    assert waves[-1].cost_usd == 0 and "Every wave" in (output / "waves.html").read_text()


def test_with_the_target_met_nothing_is_written(grown, capsys):
    output, manifest = grown
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert make(output) == manifest and "nothing is written: the target" in capsys.readouterr().err
    lower = dataclasses.replace(LOOP, target_effective_clusters=5)
    assert make(output, lower) == manifest
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")} == before


def test_a_higher_target_goes_on_from_there(grown, tmp_path):
    output = shutil.copytree(grown[0], tmp_path / "corpus")
    target = grown[1]["loop"]["reached"]["low"] + 2
    higher = dataclasses.replace(LOOP, target_effective_clusters=target)
    manifest = make(output, higher)
    assert manifest["documents"] > grown[1]["documents"]
    assert manifest["loop"]["target"] == target
    assert shards(grown[0]).items() <= shards(output).items()
    with pytest.raises(UserError, match=r"loop\.rounds was 6 and is now 7"):
        make(output, dataclasses.replace(higher, rounds=7))


def test_caps_at_any_call_leave_the_same_corpus(grown, tmp_path):
    """A cap on calls stops it in a wave and between judge and wave; what is left says partial."""
    output = tmp_path / "corpus"
    for cap in (8, 18, 23, 40):
        with pytest.raises(Paused):
            make(output, llm=LLMConfig(max_calls=cap))
        if cap > 8:
            assert files.read_json(output / "partial.json")["kind"] == "partial corpus"
    make(output)
    assert shards(output) == shards(grown[0])
    assert read_waves(output)[0].rounds == read_waves(grown[0])[0].rounds
    assert not (output / "partial.json").exists()


def test_from_every_state_that_a_kill_can_leave_it_goes_on_to_the_same(grown, tmp_path):
    """Between any two files that are written: wave planned, each of its shards, wave judged."""
    waves, whole = read_waves(grown[0]), shards(grown[0])
    of = {name: files.Corpus(grown[0] / name).take([0])[0].provenance["wave"] for name in whole}
    states = 0
    for wave in waves:
        under_way = dataclasses.replace(
            wave, end=None, tokens=None, cost_usd=None, looks=(), rounds=()
        )
        own = [name for name in whole if of[name] == wave.number]
        for kept in range(len(own) + 1):
            output = shutil.copytree(grown[0], tmp_path / f"state-{states}")
            (output / "manifest.json").unlink()
            for name in whole:
                if of[name] > wave.number or name in own[kept:]:
                    (output / name).unlink()
            for later in waves[wave.number :]:
                (output / "waves" / f"{later.number:05d}.json").unlink()
            under_way.write(output)
            make(output)
            assert shards(output) == whole and read_waves(output) == waves
            states += 1
    assert states >= 4


def test_what_all_runs_took_is_told_of_writers_and_judge(grown, tmp_path):
    """A run that goes on tells what the runs before it took as well."""
    output = tmp_path / "corpus"
    with pytest.raises(Paused):
        make(output, llm=LLMConfig(max_calls=23))
    paid = make(output)["usage"]["paid"]
    assert paid == grown[1]["usage"]["paid"]
    assert paid["writers"]["calls"] == grown[1]["documents"]
    assert paid["judge"]["calls"] > 6 and paid["judge"]["input"] > 0
    card = (output / "README.md").read_text()
    assert f"| {paid['judge']['input']:,} tokens read, {paid['judge']['output']:,} written" in card


def test_a_plan_has_the_calls_of_the_judge_and_fits_what_was_begun(grown, tmp_path):
    def planned(output, **score):
        with open_session(LLMConfig(), None) as session:
            config = GenerateConfig(topics=40, generations=3, shard_documents=10)
            told = dataclasses.replace(SCORE, **score)
            return plan_growth(SEEDS, output, config, LOOP, told, session, session)

    (part,) = planned(tmp_path / "new").parts.values()
    calls = {stage.stage: stage.calls for stage in part.stages}
    waves = 120 // LOOP.wave
    assert calls["generation"] == 120 and calls["clustering"] == waves * LOOP.rounds
    assert calls["clustering, near the target"] == waves * LOOP.rounds * 6
    assert calls["criteria"] == SCORE.criteria_rounds and calls["summary"] == SCORE.criteria_sets
    paid = grown[1]["usage"]["paid"]
    assert part.calls >= paid["writers"]["calls"] + paid["judge"]["calls"]
    (part,) = planned(grown[0]).parts.values()  # its criteria are there
    assert "criteria" not in {stage.stage for stage in part.stages}
    with pytest.raises(UserError, match="holds another corpus"):
        planned(grown[0], explain=False)


@pytest.mark.parametrize(
    ("loop", "words"),
    [({"target_effective_clusters": 120}, "the plan ends at 120 documents"),
     ({"target_effective_clusters": 20, "documents": 20}, "the plan ends at 20 documents"),
     ({"target_effective_clusters": None, "target_score": 6.5}, "a score of 6 at most")],
)  # fmt: skip
def test_a_target_out_of_reach_is_refused_before_anything_is_asked(loop, words, tmp_path):
    with pytest.raises(UserError, match=words):
        make(tmp_path / "corpus", dataclasses.replace(LOOP, **loop))
    assert not (tmp_path / "corpus").exists()


def test_waves_that_add_nothing_end_it(tmp_path):
    loop = LoopConfig(wave=12, rounds=6, patience=2)
    manifest = make(tmp_path / "c", loop, topics=3, generations=100)
    assert manifest["loop"]["reason"].startswith("2 waves added nothing: effective clusters")
    assert manifest["documents"] < 150


def test_the_bounds_end_it(tmp_path):
    far = dataclasses.replace(LOOP, target_effective_clusters=39, documents=40)
    manifest = make(tmp_path / "a", far)
    assert manifest["documents"] == 40 and manifest["loop"]["reason"] == (
        "the bound is reached: 40 documents"
    )
    manifest = make(tmp_path / "b", far, token_budget=4000, shard_documents=1000)
    assert "token budget is spent" in manifest["loop"]["reason"]
    assert 4000 <= manifest["tokens"]["estimated"] < 8000
    manifest = make(
        tmp_path / "c",
        dataclasses.replace(far, target_effective_clusters=14, documents=0),
        topics=5,
    )
    assert manifest["documents"] == 15  # the whole plan


def test_a_plain_order_is_that_of_the_plan(tmp_path):
    loop = dataclasses.replace(LOOP, steer="plan", documents=30, target_effective_clusters=29)
    make(tmp_path / "c", loop)
    assert [row.provenance["request"] for row in files.Corpus(tmp_path / "c")] == list(range(30))
    make(tmp_path / "e", dataclasses.replace(loop, steer="even"))
    counts = Counter(row.provenance["arm"] for row in files.Corpus(tmp_path / "e"))
    assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) > 5


class Listening(OfflineBackend):
    """The offline stand-in under another name, which keeps the prompts that it was asked."""

    name = "listening"

    def __init__(self):
        self.prompts = []

    async def complete(self, call):
        self.prompts.append(call.messages[-1]["content"])
        return await super().complete(call)


LEVELS = dataclasses.replace(
    SCORE, prompts="prompts/levels", criteria="score/criteria/pretraining-1.json"
)


def test_what_rounds_show_far_too_often_is_full_and_what_they_lack_is_wanted(tmp_path):
    """Of 36 places 20 are of one cluster and 8 of another, where each of four would have 9."""
    names = ["birds"] * 20 + ["fish"] * 8 + ["trees"] * 5 + ["stones"] * 3
    rounds = []
    for number in range(6):
        own = names[number::6]
        clusters = {name: tuple(n for n, one in enumerate(own) if one == name) for name in own}
        rounds.append(
            WaveRound(0, tuple(range(6)), tuple(clusters.values()), tuple(clusters),
                      codes=((),) * 6)
        )  # fmt: skip
    scout = Scout(tmp_path, LOOP, LEVELS, None)
    full, wanted = scout.told([Wave(0, (), (), end=6, rounds=tuple(rounds))])
    assert full == ("birds",)
    assert any(one.startswith("form: ") for one in wanted)
    assert not any(one.startswith("subject: ") for one in wanted)  # the topic decides that
    assert scout.told([Wave(0, (), (), end=6)]) == ((), ())


def test_writers_are_told_what_is_full_and_each_of_one_gap_as_data(tmp_path, monkeypatch):
    """By values at levels; the judge is none of ours by name, so the control variate is at work.

    Whether rounds show a full cluster hangs on what is drawn, so that one is named to the writers.
    """
    output, backend = tmp_path / "c", Listening()
    told = Scout.told
    monkeypatch.setattr(
        Scout, "told", lambda scout, waves: (("birds",) if waves else (), told(scout, waves)[1])
    )
    loop = dataclasses.replace(LOOP, target_effective_clusters=29, documents=30)
    config = GenerateConfig(topics=3, generations=20)
    session = Session(LLMConfig(), backend, FREE, output / "answers.sqlite")
    with session:
        grow(SEEDS, output, config, loop, LEVELS, session, session)
    first, second = read_waves(output)
    assert first.full == first.wanted == ()
    assert second.full == ("birds",) and len(second.wanted) > 5
    written = [p for p in backend.prompts if "You write texts from which" in p]
    noted = [p for p in written if "<wanted 1 of 1 #" in p]
    assert len(written) == 30 and len(noted) == 15
    assert len({p.rpartition("<wanted 1 of 1")[2] for p in noted}) > 5
    assert all("\nbirds\n</full" in p for p in noted)
    assert all("}\n\nThere are plenty of texts like these already:\n" in p for p in noted)
    assert all("\n\nTexts of this kind are rare among the others:\n" in p for p in noted)
    assert all(look.rounds and one.lexical for look in first.looks for one in first.rounds)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"target_score": 3.0}, "one target"), ({"wave": 0}, "Loop.wave"),
     ({"steer": "no"}, "Loop.steer"), ({"arms": ()}, "Loop.arms"),
     ({"growth": -1.0}, "Loop.growth")],
)  # fmt: skip
def test_loops_that_lead_nowhere_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(LOOP, **settings)
    with pytest.raises(UserError, match="above 0"):
        LoopConfig(target_score=-1.0)


@pytest.mark.slow
def test_killed_at_twenty_moments_the_corpus_is_the_same(tmp_path):
    """Moments of all kinds: while documents are written, judged, and decided on."""
    command = [
        sys.executable, "-m", "synthdiv.generate", "--config=configs/generate/loop.gin",
        "--llm=offline", "--target_effective_clusters=14", "--bind=Loop.wave=15",
        "--bind=Loop.rounds=6", "--bind=Loop.depth=1", "--bind=Score.documents_per_round=6",
        "--bind=Score.criteria_rounds=4", "--bind=Generate.topics=40",
        "--bind=Generate.shard_documents=10",
    ]  # fmt: skip
    whole = tmp_path / "whole"
    began = time.monotonic()
    subprocess.run([*command, f"--output={whole}"], check=True, capture_output=True)
    lasted = time.monotonic() - began
    moments = random.Random(4)
    kills, states = 0, set()
    for attempt in range(20):
        cut = tmp_path / f"cut-{attempt}"
        began = time.monotonic()
        process = subprocess.Popen([*command, f"--output={cut}"], stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.3, 1.0) * lasted)
            lasted = time.monotonic() - began  # the machine has become faster
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            states.add(tuple(sorted(path.name for path in cut.rglob("*[0-9].*"))))
        subprocess.run([*command, f"--output={cut}"], check=True, capture_output=True)
        assert shards(cut) == shards(whole)
        assert read_waves(cut) == read_waves(whole)
        assert json.loads((cut / "manifest.json").read_text())["loop"]
    print(f"{kills} kills, {len(states)} states of the directory")
