"""The answer store: one SQLite file that keeps every answer, what it cost, and who asks what now.

Tables
- answers: one row a call, under the hash of all that shapes it. Written once, before it is used.
- claims: calls that a process is asking at this moment, and the most that they can cost. A call is
  sent by the process that claimed it and by no other.
- owners: the processes, with a lease. What a dead one had claimed is free again, and counts as lost
  (perhaps paid) money.
- ledger: one row, the sum of everything spent, perhaps lost, and sent since the file was made. The
  caps are kept against it inside the transaction that claims, so that no number of processes and
  no crash can break them.

Write-ahead log and full synchronisation: a committed answer survives kill -9 and a power cut.
"""

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from synthdiv.errors import UserError
from synthdiv.json_lines import encodable
from synthdiv.llm.protocol import Answer, Usage
from synthdiv.machine import alive, this_machine

_VERSION = 1
_LEASE_S = 60.0
_ROWS = 90  # a statement: few statements spare the interpreter's lock; SQLite once took 999 values
_BUSY_S = 120.0

_SCHEMA = """
CREATE TABLE answers(
    key BLOB PRIMARY KEY, stage TEXT, text TEXT, finish_reason TEXT, counted INTEGER,
    input INTEGER, cached INTEGER, output INTEGER, cost INTEGER, created REAL);
CREATE TABLE claims(
    key BLOB PRIMARY KEY, owner TEXT, sent INTEGER, reserved INTEGER) WITHOUT ROWID;
CREATE TABLE owners(owner TEXT PRIMARY KEY, host TEXT, pid INTEGER, expires REAL) WITHOUT ROWID;
CREATE TABLE ledger(
    id INTEGER PRIMARY KEY CHECK (id = 1), spent INTEGER, lost INTEGER, calls INTEGER);
INSERT INTO ledger VALUES(1, 0, 0, 0);
"""
TOTALS = (
    "spent, lost, calls,"
    " (SELECT coalesce(sum(reserved), 0) FROM claims), (SELECT count(*) FROM claims)"
)


class Claim(NamedTuple):
    """Asks to send a call that can cost at most `reserved` pico-dollars."""

    key: bytes
    reserved: int


class Commit(NamedTuple):
    """Keeps an answer; `cost` is what it cost, `lost` what its failed attempts may have cost."""

    key: bytes
    answer: Answer
    stage: str
    cost: int
    lost: int
    calls: int


class Release(NamedTuple):
    """Gives a claim up; `calls` were sent for it in vain, `lost` may have been paid."""

    key: bytes
    lost: int
    calls: int


class PutDown(NamedTuple):
    """Keeps a claim, and what it reserves, for a call that is not sent but written to a file."""

    key: bytes


Op = Claim | Commit | Release | PutDown

# Outcomes of a Claim.
GRANTED = "granted"
ANSWERED = "answered"  # another process was faster
HELD = "held"  # another process is asking it now
NO_ROOM = "no room"  # the caps allow it only if calls in flight cost less than they can
SPENT = "spent"  # the caps do not allow it


class Unstorable(Exception):
    """What was given to be stored is at fault, and not the file."""


_ROW_FAULTS = (
    *(OverflowError, TypeError, ValueError),
    *(sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)


@dataclass(frozen=True)
class Totals:
    """The ledger, in pico-dollars and calls; `reserved` and `claimed` are in flight."""

    spent: int
    lost: int
    calls: int
    reserved: int = 0
    claimed: int = 0

    def since(self, start: "Totals") -> "Totals":
        """What has come to these since `start`; what is in flight is in flight now."""
        spent, lost = self.spent - start.spent, self.lost - start.lost
        return Totals(spent, lost, self.calls - start.calls, self.reserved, self.claimed)


class Store:
    """One connection that writes, one that reads; each is used by one thread at a time.

    Args:
        path: the SQLite file, made if it is not there.
        fresh: answers from before this moment are not seen, and caps count from it.
        max_cost: pico-dollars that the file may cost in all, or None.
        max_calls: calls that it may take in all, or None.
    """

    def __init__(
        self,
        path: Path,
        fresh: bool = False,
        max_cost: int | None = None,
        max_calls: int | None = None,
    ) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self._since = time.time() if fresh else 0.0
        self._max_cost, self._max_calls = max_cost, max_calls
        self._reaped = 0.0
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = _connect(path)
            self._prepare()
            self._reader = _connect(path)
            with self._transaction():
                self._beat()
                self._reap()
            start = self.totals()
            self.start = start if fresh else Totals(0, 0, 0)  # what caps do not count

    def get(self, key: bytes) -> Answer | None:
        """Returns the answer under `key`; only the reading thread calls this."""
        with self._explained():
            row = self._reader.execute(
                "SELECT text, input, cached, output, finish_reason, counted FROM answers"
                " WHERE key = ? AND created >= ?",
                (key, self._since),
            ).fetchone()
        if row is None:
            return None
        text, prompt, cached, output, finish_reason, counted = row
        return Answer(text, Usage(prompt, cached, output), finish_reason, bool(counted))

    def apply(self, ops: Sequence[Op]) -> list[object]:
        """Does all of `ops` in one transaction; only the writing thread calls this.

        Returns:
            for each Claim one of the words above; for each Commit whether this answer
            is the one that is kept (False: another process's is); None for the others.
        """
        results: list[object] = [None] * len(ops)
        with self._explained(), self._transaction():
            self._keep([(i, op) for i, op in enumerate(ops) if isinstance(op, Commit)], results)
            self._settle([op for op in ops if isinstance(op, (Commit, Release))])
            for part in _parts([op.key for op in ops if isinstance(op, PutDown)]):
                marks = _marks(1, len(part))
                self._writer.execute(
                    f"UPDATE claims SET sent = 0 WHERE owner = ? AND key IN {marks}",
                    [self.owner, *part],
                )
            claims = [(i, op) for i, op in enumerate(ops) if isinstance(op, Claim)]
            if claims:
                self._admit(claims, results)
        return results

    def beat(self) -> None:
        """Renews this process's lease; to be called several times a minute."""
        with self._explained(), self._transaction():
            self._beat()

    def totals(self) -> Totals:
        """Returns the ledger as it stands, calls in flight included; for the writing thread."""
        row = self._writer.execute(f"SELECT {TOTALS} FROM ledger").fetchone()
        return Totals(*row)

    def close(self) -> None:
        """Gives up what is still claimed and closes the file."""
        with contextlib.suppress(sqlite3.Error, UserError):
            with self._transaction():
                self._drop([self.owner])
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._reader.close()
        self._writer.close()

    def _keep(self, commits: list[tuple[int, Commit]], results: list[object]) -> None:
        now = time.time()
        for part in _parts(commits):
            rows: list[object] = []
            for i, op in part:
                text, usage = encodable(op.answer.text), op.answer.usage
                rows += [op.key, op.stage, text, op.answer.finish_reason, op.answer.counted]
                rows += [usage.input, usage.cached, usage.output, op.cost, now]
                results[i] = True
            kept = self._writer.execute(
                f"INSERT INTO answers VALUES {_marks(len(part), 10)} ON CONFLICT(key) DO UPDATE SET"
                " stage=excluded.stage, text=excluded.text, finish_reason=excluded.finish_reason,"
                " counted=excluded.counted, input=excluded.input, cached=excluded.cached,"
                " output=excluded.output, cost=excluded.cost, created=excluded.created"
                f" WHERE answers.created < {self._since!r}",
                rows,
            ).rowcount
            if kept < len(part):  # a lease ran out and another process answered: its answer stands
                for i, _ in part:
                    results[i] = False

    def _settle(self, ops: Sequence[Commit | Release]) -> None:
        if not ops:
            return
        self._writer.execute(
            "UPDATE ledger SET spent = spent + ?, lost = lost + ?, calls = calls + ?",
            (
                sum(op.cost for op in ops if isinstance(op, Commit)),
                sum(op.lost for op in ops),
                sum(op.calls for op in ops),
            ),
        )
        for part in _parts(ops):
            self._writer.execute(
                f"DELETE FROM claims WHERE owner = ? AND key IN {_marks(1, len(part))}",
                [self.owner, *(op.key for op in part)],
            )

    def _admit(self, asked: list[tuple[int, Claim]], results: list[object]) -> None:
        admitted: list[tuple[int, Claim]] = []
        self._beat()  # whoever took this process for dead has struck it out: a claim has an owner
        money, calls, in_flight = self._room()
        for i, op in asked:
            if (money is not None and op.reserved > money) or (calls is not None and calls < 1):
                results[i] = NO_ROOM if in_flight or admitted else SPENT
                continue
            money = None if money is None else money - op.reserved
            calls = None if calls is None else calls - 1
            admitted.append((i, op))
        for part in _parts(admitted):
            self._claim(part, results)

    def _claim(self, part: Sequence[tuple[int, Claim]], results: list[object]) -> None:
        rows = [value for _, op in part for value in op]
        statement = (
            "INSERT INTO claims SELECT w.column1, ?, 1, w.column2"
            f" FROM (VALUES {_marks(len(part), 2)}) AS w"
            " WHERE NOT EXISTS (SELECT 1 FROM answers a WHERE a.key = w.column1 AND created >= ?)"
            " ON CONFLICT(key) DO NOTHING"
        )
        parameters = [self.owner, *rows, self._since]
        taken = self._writer.execute(statement, parameters).rowcount
        if taken == len(part):
            for i, _ in part:
                results[i] = GRANTED
            return
        if self._reap():
            self._writer.execute(statement, parameters)
        keys = [op.key for _, op in part]
        marks = _marks(1, len(keys))
        ours = self._keys(
            f"SELECT key FROM claims WHERE owner = ? AND key IN {marks}", [self.owner, *keys]
        )
        answered = self._keys(
            f"SELECT key FROM answers WHERE created >= ? AND key IN {marks}", [self._since, *keys]
        )
        for i, op in part:
            results[i] = GRANTED if op.key in ours else ANSWERED if op.key in answered else HELD

    def _keys(self, statement: str, parameters: Sequence[object] = ()) -> set[Any]:
        return {row[0] for row in self._writer.execute(statement, parameters)}

    def _room(self) -> tuple[int | None, int | None, bool]:
        """What the caps leave, and whether calls in flight may yet give some back."""
        if self._max_cost is None and self._max_calls is None:
            return None, None, False
        now = self.totals().since(self.start)
        money = calls = None
        if self._max_cost is not None:
            money = self._max_cost - now.spent - now.lost - now.reserved
        if self._max_calls is not None:
            calls = self._max_calls - now.calls - now.claimed
        return money, calls, now.claimed > 0

    def _beat(self) -> None:
        self._writer.execute(
            "INSERT INTO owners VALUES(?, ?, ?, ?) ON CONFLICT(owner) DO UPDATE SET"
            " expires = excluded.expires",
            (self.owner, this_machine(), os.getpid(), time.time() + _LEASE_S),
        )

    def _reap(self) -> bool:
        """Frees what dead processes had claimed; looked for once a second at most."""
        if time.monotonic() - self._reaped < 1.0:
            return False
        self._reaped = time.monotonic()
        here, now = this_machine(), time.time()
        dead = [
            owner
            for owner, host, pid, expires in self._writer.execute("SELECT * FROM owners")
            # A lease beyond the longest is of a clock that was set back since.
            if not now <= expires <= now + 2 * _LEASE_S or (host == here and not alive(pid))
        ]
        dead += self._keys("SELECT owner FROM claims WHERE owner NOT IN (SELECT owner FROM owners)")
        dead = [owner for owner in dead if owner != self.owner]
        self._drop(dead)
        return bool(dead)

    def _drop(self, owners: Iterable[str]) -> None:
        for owner in owners:
            self._writer.execute(
                "UPDATE ledger SET"
                " lost = lost +"
                " (SELECT coalesce(sum(reserved * sent), 0) FROM claims WHERE owner = ?),"
                " calls = calls + (SELECT coalesce(sum(sent), 0) FROM claims WHERE owner = ?)",
                (owner, owner),
            )
            self._writer.execute("DELETE FROM claims WHERE owner = ?", (owner,))
            self._writer.execute("DELETE FROM owners WHERE owner = ?", (owner,))

    def _prepare(self) -> None:
        with self._transaction():
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                if self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise UserError(f"{self.path} is an SQLite file, but not an answer store")
                for statement in _SCHEMA.strip().split(";\n"):
                    self._writer.execute(statement)
                self._writer.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise UserError(
                    f"{self.path} was written by another version of synthdiv (format {version},"
                    f" this one reads {_VERSION})"
                )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._writer.in_transaction:  # a full disk ends it by itself
                self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _ROW_FAULTS as error:
            raise Unstorable(f"{type(error).__name__}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"cannot use the answer store {self.path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    deadline = time.monotonic() + _BUSY_S
    while True:  # two processes that make the file at once: the change of mode does not wait
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _marks(rows: int, columns: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return row if rows == 1 else ",".join([row] * rows)


def _parts(rows: Sequence) -> Iterator[Sequence]:
    return (rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS))
