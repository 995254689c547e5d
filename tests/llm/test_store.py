"""The store: what is committed stays, claims are exclusive, caps hold, the dead give back."""

import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from synthdiv.errors import UserError
from synthdiv.llm.protocol import Answer, Usage
from synthdiv.llm.store import (
    ANSWERED,
    GRANTED,
    HELD,
    NO_ROOM,
    SPENT,
    Claim,
    Commit,
    PutDown,
    Release,
    Store,
)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def answer(text: str) -> Answer:
    return Answer(text, Usage(10, 2, 5))


def commit(number: int, text: str = "yes", cost: int = 1) -> Commit:
    return Commit(key(number), answer(text), "stage", cost, 0, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def test_an_answer_comes_back_as_it_was(path: Path) -> None:
    text = "é漢\U0001f600 \x00 zero\r\n\ud800half"
    with_store = Store(path)
    assert with_store.get(key(1)) is None
    assert with_store.apply([Claim(key(1), 0)]) == [GRANTED]
    told = Answer(text, Usage(7, 3, 9), "length", counted=False)
    assert with_store.apply([Commit(key(1), told, "s", 5, 2, 3)]) == [True]
    with_store.close()
    again = Store(path)
    kept = again.get(key(1))
    assert kept == Answer(text.replace("\ud800", "?"), Usage(7, 3, 9), "length", counted=False)
    totals = again.totals()
    assert (totals.spent, totals.lost, totals.calls, totals.claimed) == (5, 2, 3, 0)


def test_many_in_one_transaction(path: Path) -> None:
    store = Store(path)
    assert store.apply([Claim(key(i), 1) for i in range(1000)]) == [GRANTED] * 1000
    assert store.totals().claimed == 1000
    assert all(store.apply([commit(i) for i in range(1000)]))
    assert store.totals().claimed == 0
    assert store.totals().calls == 1000
    assert store.apply([Claim(key(i), 1) for i in range(995, 1005)]) == (
        [ANSWERED] * 5 + [GRANTED] * 5
    )


def test_a_claim_is_one_owners(path: Path) -> None:
    one, two = Store(path), Store(path)
    assert one.apply([Claim(key(1), 0)]) == [GRANTED]
    assert two.apply([Claim(key(1), 0), Claim(key(2), 0)]) == [HELD, GRANTED]
    one.apply([Release(key(1), 0, 0)])
    assert two.apply([Claim(key(1), 0)]) == [GRANTED]
    assert two.apply([commit(1)]) == [True]
    assert one.apply([Claim(key(1), 0)]) == [ANSWERED]
    assert one.get(key(1)) == answer("yes")


def test_the_first_answer_stands(path: Path) -> None:
    one, two = Store(path), Store(path)
    assert one.apply([commit(1, "first")]) == [True]
    assert two.apply([commit(1, "second")]) == [False]
    assert two.get(key(1)) == answer("first")


def test_fresh_sees_its_own_answers_only_and_replaces_the_old(path: Path) -> None:
    old = Store(path, max_cost=10)
    old.apply([commit(1, "old", cost=10), commit(2, "old", cost=0)])
    old.close()
    time.sleep(0.01)
    fresh = Store(path, fresh=True, max_cost=10)
    assert fresh.get(key(1)) is None
    assert fresh.apply([Claim(key(1), 10)]) == [GRANTED]  # the cap counts from now
    assert fresh.apply([commit(1, "new", cost=10)]) == [True]
    assert fresh.get(key(1)) == answer("new")
    fresh.close()
    later = Store(path)
    assert later.get(key(1)) == answer("new")
    assert later.get(key(2)) == answer("old")


def test_caps_hold_for_all_that_share_the_file(path: Path) -> None:
    one, two = Store(path, max_cost=100), Store(path, max_cost=100)
    assert one.apply([Claim(key(1), 60)]) == [GRANTED]
    assert two.apply([Claim(key(2), 60), Claim(key(3), 40)]) == [NO_ROOM, GRANTED]
    one.apply([commit(1, cost=10)])
    assert two.apply([Claim(key(2), 50)]) == [GRANTED]  # 10 spent, 40 reserved
    assert one.apply([Claim(key(4), 1)]) == [NO_ROOM]
    two.apply([commit(2, cost=50), Release(key(3), 40, 1)])
    assert one.apply([Claim(key(4), 1)]) == [SPENT]
    one.close()
    two.close()
    assert Store(path, max_cost=100).apply([Claim(key(5), 1)]) == [SPENT]
    assert Store(path, max_cost=101).apply([Claim(key(5), 1)]) == [GRANTED]


def test_a_cap_on_calls(path: Path) -> None:
    store = Store(path, max_calls=3)
    asked = store.apply([Claim(key(i), 0) for i in range(4)])
    assert asked == [GRANTED] * 3 + [NO_ROOM]
    store.apply([commit(0), Release(key(1), 0, 0), Release(key(2), 0, 1)])
    assert store.apply([Claim(key(3), 0), Claim(key(4), 0)]) == [GRANTED, NO_ROOM]
    store.apply([commit(3)])
    assert store.apply([Claim(key(4), 0)]) == [SPENT]


def test_what_is_put_down_keeps_its_room_and_costs_nothing_at_the_end(path: Path) -> None:
    store = Store(path, max_cost=10)
    store.apply([Claim(key(1), 6)])
    store.apply([PutDown(key(1))])
    assert store.apply([Claim(key(2), 6)]) == [NO_ROOM]
    store.close()
    totals = Store(path).totals()
    assert (totals.lost, totals.calls, totals.claimed) == (0, 0, 0)


def _claim_and_wait(path: Path, ready: "multiprocessing.synchronize.Event") -> None:
    store = Store(path)
    store.apply([Claim(key(1), 30), Claim(key(2), 4)])
    store.apply([PutDown(key(2))])
    ready.set()
    signal.pause()


def test_a_killed_process_gives_back_what_it_had_claimed(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_claim_and_wait, args=(path, ready), daemon=True)
    process.start()
    assert ready.wait(300)
    store = Store(path, max_cost=100)
    assert store.apply([Claim(key(1), 30)]) == [HELD]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(1.1)  # the dead are looked for once a second
    assert store.apply([Claim(key(1), 30)]) == [GRANTED]
    totals = store.totals()
    # The call that was on its way may have been paid; the one that was written to a file was not.
    assert (totals.lost, totals.calls, totals.reserved) == (30, 1, 30)


def test_a_lease_that_ran_out(path: Path) -> None:
    away, here = Store(path), Store(path)
    away.apply([Claim(key(1), 0)])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE owners SET host = 'elsewhere' WHERE owner = ?", (away.owner,))
        connection.execute("UPDATE owners SET expires = ? WHERE owner = ?", (1.0, away.owner))
    connection.close()
    time.sleep(1.1)
    assert here.apply([Claim(key(1), 0)]) == [GRANTED]
    here.apply([commit(1, "here")])
    assert away.apply([commit(1, "away")]) == [False]  # it wakes up, and is late
    assert away.get(key(1)) == answer("here")


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("this is no database, whatever it is called " * 20)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t(x)")
    connection.close()
    newer = tmp_path / "newer.sqlite"
    Store(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for path, words in (
        (text, "not a database"),
        (other, "not an answer store"),
        (newer, "another version"),
        (tmp_path, "cannot use the answer store"),
    ):
        with pytest.raises(UserError, match=words):
            Store(path)
