"""Working copies: a store holds at every moment what a kill would have left."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthdiv.errors import UserError
from synthdiv.storage import Away, fetch, glimpse, listing, parse, workspace
from synthdiv.storage.ledger import LEDGER
from synthdiv.storage.lock import LEASE_S, Held, Lock
from synthdiv.storage.stores import store
from synthdiv.storage.workspace import WorkingCopy, _settled
from tests.storage.killing import Killed

Arm = Callable[[int | None], list[str]]


def read(address: str) -> dict[str, str]:
    """What whoever reads a directory finds there."""
    here = fetch(address)
    return {
        str(path.relative_to(here)): path.read_text() for path in here.rglob("*") if path.is_file()
    }


def work(address: str, stop: int = 3) -> None:
    """What a command does: it goes on where it was, and its manifest is last."""
    with workspace(address) as directory:
        for number in range(stop):
            shard = directory / f"shard-{number}"
            if not shard.exists():
                shard.write_text(f"{number}" * 100)
        log = directory / "log.jsonl"
        log.write_text(f"{stop}\n")
        (directory / "manifest.json").write_text(str(stop))


WHOLE = {f"shard-{n}": str(n) * 100 for n in range(3)} | {"log.jsonl": "3\n", "manifest.json": "3"}


def test_what_is_written_is_there_and_the_manifest_last(bucket: str, killed_at: Arm) -> None:
    written = killed_at(None)
    work(f"{bucket}/run")
    assert read(f"{bucket}/run") == WHOLE
    assert written[-3:-1] == [f"{bucket}/run/manifest.json", f"{bucket}/run/{LEDGER}"]
    assert "lock" in written[-1]


def test_a_local_path_is_left_alone(tmp_path: Path) -> None:
    with workspace(tmp_path / "x") as directory:
        assert directory == tmp_path / "x" and not directory.exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_kill_at_any_write_leaves_an_earlier_state_and_no_other(
    bucket: str,
    elsewhere: bool,
    killed_at: Arm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"{bucket}/run"
    work(address, stop=1)
    monkeypatch.setattr("synthdiv.storage.lock.alive", lambda _: False)
    before = read(address)
    after = {name: text for name, text in WHOLE.items()}
    count, allowed = 0, [{n: s.get(n) for n in WHOLE} for s in (before, after)]
    while True:
        written = killed_at(count)
        try:
            work(address)
            break
        except Killed:
            found = read(address)
        finally:
            killed_at(None)
        assert len(written) >= count  # threads may have been past the check
        for name, text in found.items():  # replaced files may be of either state, new ones of one
            assert text in [state[name] for state in allowed]
        assert set(found) in (set(before), set(after))
        count += 1
        if elsewhere:
            monkeypatch.setenv("SYNTHDIV_CACHE", str(tmp_path / f"machine{count}"))
    assert read(address) == WHOLE
    assert count > 8


def test_a_checkpoint_counts_when_it_is_whole(bucket: str) -> None:
    address = parse(f"{bucket}/run")
    copy = WorkingCopy(store(address), address)
    half = copy.path / "checkpoints" / "10.orbax-checkpoint-tmp-1"
    half.mkdir(parents=True)
    (half / "params").write_text("p")
    copy.look(all_of_it=True)
    assert listing(address) == {}
    whole = half.rename(half.with_name("10"))
    (whole / "about").write_text("a")
    copy.look(all_of_it=True)
    assert set(listing(address)) == {"checkpoints/10/params", "checkpoints/10/about"}
    (whole / "about").unlink()  # it is being removed
    copy.look(all_of_it=True)
    assert listing(address) == {}
    assert store(address).below(address / "checkpoints") == {}


def test_what_was_just_written_waits_for_what_came_before_it() -> None:
    second = 1_000_000_000
    found = {
        "shard": [1, 5 * second],
        "manifest.json": [1, 9 * second],
        "checkpoints/10/old": [1, 2 * second],
        "checkpoints/10/new": [1, 9 * second],
        "checkpoints/9/old": [1, 2 * second],
        "answers.sqlite": [1, 9 * second],
    }
    began = 9 * second + second // 2
    assert set(_settled(found, began)) == {"shard", "checkpoints/9/old", "answers.sqlite"}
    assert set(_settled(found, None)) == set(found)


def test_a_database_in_use_goes_up_as_it_stands_between_transactions(bucket: str) -> None:
    address = parse(f"{bucket}/run")
    copy = WorkingCopy(store(address), address)
    database = sqlite3.connect(copy.path / "answers.sqlite")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE answers(text)")
    database.execute("INSERT INTO answers VALUES ('paid')")
    database.commit()
    database.execute("INSERT INTO answers VALUES ('not yet')")
    copy.look()
    database.rollback()
    assert set(listing(address)) == {"answers.sqlite"}
    there = sqlite3.connect(glimpse(str(address)) / "answers.sqlite")
    assert there.execute("SELECT text FROM answers").fetchall() == [("paid",)]
    database.execute("INSERT INTO answers VALUES ('later')")
    database.commit()  # in the log, and the file is as it was
    copy.look()
    there = sqlite3.connect(glimpse(str(address)) / "answers.sqlite")
    assert len(there.execute("SELECT text FROM answers").fetchall()) == 2


def test_a_file_as_output_has_its_sides_with_it(bucket: str) -> None:
    with workspace(f"{bucket}/results.json") as path:
        path.write_text("{}")
        path.with_name("results.samples.a.jsonl").write_text("1")
        path.with_name("others.json").write_text("2")
    assert fetch(f"{bucket}/results.json").read_text() == "{}"
    assert set(store(parse(bucket)).below(parse(bucket))) == {
        ".results.synthdiv-objects.json",
        "results.json",
        "results.samples.a.jsonl",
    }


def test_an_error_leaves_what_was_done(bucket: str) -> None:
    with pytest.raises(ValueError), workspace(f"{bucket}/run") as directory:
        (directory / "answers").write_text("paid")
        raise ValueError
    assert read(f"{bucket}/run") == {"answers": "paid"}


def test_a_store_that_is_away_at_the_end_pauses_and_loses_nothing(
    bucket: str, monkeypatch: pytest.MonkeyPatch, files: Any
) -> None:
    from synthdiv.storage import stores

    def away(*_: Any, **__: Any) -> None:
        raise OSError("busy")

    address = f"{bucket}/run"
    with (
        monkeypatch.context() as one,
        pytest.raises(Away, match="all is kept in"),
        workspace(address) as directory,
    ):
        (directory / "answers").write_text("paid")
        one.setattr(stores.store(parse(address))._files, "put_file", away)
    with workspace(address) as directory:
        assert (directory / "answers").read_text() == "paid"
    assert read(address) == {"answers": "paid"}


def test_where_another_machine_has_gone_on_what_is_here_is_set_aside(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch, killed_at: Arm, tmp_path: Path
) -> None:
    address = f"{bucket}/run"
    work(address, stop=1)
    monkeypatch.setattr("synthdiv.storage.lock.alive", lambda _: False)
    killed_at(2)  # the lock and one object are put, and no list
    with pytest.raises(Killed), workspace(address) as directory:
        (directory / "answers").write_text("paid here alone")
    killed_at(None)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SYNTHDIV_CACHE", str(tmp_path / "elsewhere"))
        work(address)
    with workspace(address) as directory:
        assert not (directory / "answers").exists()
    [aside] = (cache / "set-aside").glob("*/answers")
    assert aside.read_text() == "paid here alone"
    assert read(address) == WHOLE


def test_what_others_wrote_is_not_written_over(bucket: str, files: Any) -> None:
    files.pipe_file(f"{bucket}/run/precious.txt", b"theirs")
    with pytest.raises(UserError, match="precious.txt"), workspace(f"{bucket}/run"):
        pass
    assert store(parse(bucket)).below(parse(bucket)).keys() == {"run/precious.txt"}


def test_one_process_writes_at_a_time(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = parse(f"{bucket}/run")
    first = Lock(store(address), address)
    with pytest.raises(Held, match=r"process \d+ on .* is at work"):
        Lock(store(address), address)
    first.release()
    Lock(store(address), address).release()
    assert store(address).below(address) == {}


def test_a_dead_holder_is_followed_and_finds_out(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = parse(f"{bucket}/run")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("synthdiv.storage.lock.this_machine", lambda: "elsewhere")
        first = Lock(store(address), address)
    with pytest.raises(Held):
        Lock(store(address), address)
    now = time.time() + LEASE_S + 1
    monkeypatch.setattr("synthdiv.storage.lock.time.time", lambda: now)
    second = Lock(store(address), address)
    with pytest.raises(Held, match="taken over"):
        first.renew()
    second.renew()


def test_a_store_without_conditional_puts_is_told_of(
    bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = parse(f"{bucket}/run")
    put = store(address)._files.pipe_file
    monkeypatch.setattr(
        store(address)._files, "pipe_file", lambda path, content, mode="": put(path, content)
    )
    lock = Lock(store(address), address)
    assert "holds no locks" in capsys.readouterr().err
    lock.renew()


def test_the_list_says_nothing_of_the_machine(bucket: str, cache: Path) -> None:
    work(f"{bucket}/run")
    listed = json.loads(store(parse(bucket)).read(parse(f"{bucket}/run/{LEDGER}")) or b"")
    assert set(listed) == {"format", "objects", "before"}
    assert set(listed["objects"]["manifest.json"]) == {"bytes", "sha256"}
