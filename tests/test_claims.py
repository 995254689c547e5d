"""A directory is one piece of work's, and one process's at a time."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synthdiv.claims import FINGERPRINT, check_claim, claim
from synthdiv.errors import UserError
from synthdiv.files import read_json, sha256_text, write_json
from tests.conftest import Ended

WORK = {"kind": "pretrain", "run": {"learning_rate": 0.1, "layers": (2, 3)}, "seed": 0}

HOLD = """
import multiprocessing, sys, time
from synthdiv.claims import claim
with claim(sys.argv[1], {"seed": 0}, "corpus"):
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(600)
"""


def test_the_same_work_goes_on_and_other_work_is_refused_by_name(tmp_path: Path) -> None:
    record = tmp_path / "run" / FINGERPRINT
    with claim(record, WORK, "training run"):
        (record.parent / "result").touch()
    with claim(record, WORK, "training run"):  # tuples come back as lists, and are the same
        pass
    other = WORK | {"run": {"learning_rate": 0.2, "layers": (2, 3), "clip": 1.0}, "seed": 4}
    said = (
        r"run' holds another training run \(run.learning_rate was 0.1 and is now 0.2; run.clip "
        r"was None and is now 1.0; seed was 0 and is now 4\): take another directory"
    )
    for refuse in (check_claim, lambda *what: claim(*what).__enter__()):
        with pytest.raises(UserError, match=said):
            refuse(record, other, "training run")
    assert read_json(record)["run"] == {"learning_rate": 0.1, "layers": [2, 3]}
    assert sorted(os.listdir(record.parent)) == [FINGERPRINT, "result"]


def test_of_a_hash_the_beginning_is_told(tmp_path: Path) -> None:
    one, other = sha256_text("one"), sha256_text("other")
    with claim(tmp_path / FINGERPRINT, {"pages": one}, "list of topics"):
        (tmp_path / "result").touch()
    said = rf"\(pages was '{one[:12]}' and is now '{other[:12]}'\)"
    with pytest.raises(UserError, match=said):
        check_claim(tmp_path / FINGERPRINT, {"pages": other}, "list of topics")


def test_a_setting_that_is_gone_is_a_difference(tmp_path: Path) -> None:
    with claim(tmp_path / FINGERPRINT, {"sources": {"a": 1, "b": 2}}, "mixture"):
        (tmp_path / "result").touch()
    with pytest.raises(UserError, match="sources.b was 2 and is now None"):
        check_claim(tmp_path / FINGERPRINT, {"sources": {"a": 1}}, "mixture")


def test_a_record_of_an_older_version_counts_for_what_it_says(tmp_path: Path) -> None:
    write_json(tmp_path / FINGERPRINT, {"seed": 0})
    check_claim(tmp_path / FINGERPRINT, {"seed": 0, "later": 1}, "corpus")
    with pytest.raises(UserError, match="seed was 0 and is now 1"):
        check_claim(tmp_path / FINGERPRINT, {"seed": 1, "later": 1}, "corpus")


def test_a_mistake_before_anything_is_written_leaves_the_directory_free(tmp_path: Path) -> None:
    record = tmp_path / FINGERPRINT
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="no such model"), claim(record, {"model": "a"}, "corpus"):
        (tmp_path / "answers.sqlite").touch()
        raise UserError("no such model")
    new = tmp_path / "new" / "place" / FINGERPRINT
    with pytest.raises(UserError, match="no such model"), claim(new, {"model": "a"}, "corpus"):
        raise UserError("no such model")
    assert not new.parent.exists()
    with pytest.raises(UserError, match="odd"), claim(record, {"model": "b"}, "corpus"):
        (tmp_path / "shard").touch()
        raise UserError("odd")
    with pytest.raises(UserError, match="model was 'b' and is now 'a'"):
        check_claim(record, {"model": "a"}, "corpus")


def test_work_of_another_kind_is_named_and_not_compared(tmp_path: Path) -> None:
    with claim(tmp_path / FINGERPRINT, {"kind": "score", "seed": 0}, "score"):
        pass
    with pytest.raises(UserError, match=r"holds other work \(score\), and no corpus: take another"):
        check_claim(tmp_path / FINGERPRINT, {"topics": 3}, "corpus")


def test_an_interrupted_work_keeps_its_claim(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claim(tmp_path / FINGERPRINT, {"seed": 0}, "corpus"):
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="seed was 0 and is now 1"):
        check_claim(tmp_path / FINGERPRINT, {"seed": 1}, "corpus")


def test_a_process_may_not_claim_twice_at_once(tmp_path: Path) -> None:
    with claim(tmp_path / FINGERPRINT, {"seed": 0}, "corpus"):
        with (
            pytest.raises(UserError, match="at work in .* already"),
            claim(tmp_path / FINGERPRINT, {"seed": 0}, "corpus"),
        ):
            pass
        with claim(tmp_path / "cell" / FINGERPRINT, {"seed": 0}, "corpus"):
            pass  # a part of the work in a folder of its own
    assert os.listdir(tmp_path / "cell") == [FINGERPRINT]


def test_two_processes_are_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    """Its forked worker lives on, and holds nothing."""
    record = tmp_path / FINGERPRINT
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(record)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        said = rf"process {process.pid} on \S+ is at work in .*: wait for it, or end it first"
        with pytest.raises(UserError, match=said), claim(record, {"seed": 0}, "corpus"):
            pass
        process.kill()
        process.wait()
        os.kill(worker, 0)  # alive
        with claim(record, {"seed": 0}, "corpus"):
            pass
    finally:
        process.kill()
        os.kill(worker, signal.SIGKILL)
        process.stdout.close()


def _count(record: Path, counter: Path, turns: int) -> None:
    for _ in range(turns):
        while True:
            try:
                with claim(record, {"seed": 0}, "corpus"):
                    seen = int(counter.read_text())
                    time.sleep(0.0005)
                    counter.write_text(str(seen + 1))
                    break
            except UserError:
                time.sleep(0.0002)


def test_no_two_ever_hold_it_though_the_lock_file_comes_and_goes(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    spawn = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "d" / FINGERPRINT, counter, 100)
    processes = [spawn.Process(target=_count, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert counter.read_text() == "300"
    assert os.listdir(tmp_path / "d") == [FINGERPRINT]


SMALL = ["--rounds=4", "--bind=Score.criteria_rounds=2", "--bind=Score.with_baselines=False"]


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("rivers", "bridges"):
        rows = [{"text": f"{name} of the north, number {i}, and their names"} for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("--seed=5", "score.seed was 0 and is now 5"),
        ("--input=bridges.jsonl", "corpora.rivers was '"),
        ("--bind=Score.policy='split'", "score.policy was 'drop' and is now 'split'"),
        ("--bind=Score.document_words=7", "score.document_words was 600 and is now 7"),
        ("--llm=batch", "judge.backend was 'offline' and is now 'batch'"),
    ],
)
def test_a_score_directory_answers_for_one_score(
    corpora: Path, run_command: Callable[..., Ended], changed: str, named: str
) -> None:
    arguments = ["score", "--input=rivers.jsonl", "--output=out", *SMALL]
    assert run_command(*arguments).code == 0
    found = (corpora / "out/score.json").read_bytes()
    for dry in ([], ["--dry_run"]):
        refused = run_command(*arguments, "--model=m", changed, *dry)
        assert refused.code == 2 and named in refused.stderr, refused
        assert refused.stderr.count("\n") == 1
    assert (corpora / "out/score.json").read_bytes() == found
    more = run_command(*arguments, "--rounds=6", "--max_calls=500", "--concurrency=3")
    assert more.code == 0, "more rounds of the same go on"


def test_a_list_of_topics_answers_for_its_pages(
    corpora: Path, run_command: Callable[..., Ended]
) -> None:
    (corpora / "topics.jsonl.answers").mkdir()
    write_json(corpora / "topics.jsonl.answers" / FINGERPRINT, {"kind": "topics", "pages": "other"})
    for dry in ([], ["--dry_run"]):
        refused = run_command("topics", "--input=rivers.jsonl", "--output=topics.jsonl", *dry)
        assert refused.code == 2 and "pages was 'other' and is now '" in refused.stderr
    assert not (corpora / "topics.jsonl").exists()


def test_a_corpus_that_is_being_written_is_left_alone(
    corpora: Path, run_command: Callable[..., Ended]
) -> None:
    arguments = ["generate", "--output=out", "--bind=Generate.topics=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(corpora / "out" / FINGERPRINT)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        refused = run_command(*arguments)
        assert refused.code == 2 and f"process {process.pid} on " in refused.stderr
        assert not list((corpora / "out").glob("shard*"))
    finally:
        process.kill()
        process.wait()
        os.kill(worker, signal.SIGKILL)
        process.stdout.close()


def test_a_path_that_is_too_long_is_a_mistake(tmp_path: Path) -> None:
    record = tmp_path / ("x" * 300) / FINGERPRINT
    with pytest.raises(UserError, match="cannot write to .*too long"), claim(record, {}, "score"):
        pass
