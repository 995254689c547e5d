"""Who may write to an address: one process at a time, on whichever machine.

Locks are numbered objects, each put only if there is none of its number (a conditional put, which
S3, Google's store and MinIO have). A dead holder's lock is not broken but followed by the next
number, so that of several who find it one succeeds, and a holder that was taken for dead finds out.
"""

import json
import os
import socket
import time
import uuid

from synthdiv.errors import UserError
from synthdiv.machine import alive, this_machine
from synthdiv.progress import say
from synthdiv.storage import ledger
from synthdiv.storage.addresses import Address
from synthdiv.storage.stores import Store

LEASE_S = 600.0  # after which a holder on another machine that gives no sign is taken for dead


class Held(UserError):
    """Another process writes there, or has taken over."""


class Lock:
    """The right to write to an address; renewed every few minutes at the latest.

    Raises:
        Held: another process has it.
    """

    def __init__(self, store: Store, address: Address) -> None:
        self._store, self._address = store, address
        self._place = ledger.place(address, ledger.LOCK)
        self._me = uuid.uuid4().hex
        before = self._numbers()
        if before and (holder := self._holder(before[-1])):
            raise Held(f"{holder} is at work in {address}: wait for it, or end it first")
        self._number = max(before, default=0) + 1
        self._renewed = time.time()
        created = store.create(self._lock(self._number), self._content())
        if created and {*self._numbers()} - {*before, self._number}:
            self.release()
            created = False
        if not created:
            raise Held(f"another process began to work in {address} at this moment: wait for it")
        if store.create(self._lock(self._number), b"{}"):
            store.write(self._lock(self._number), self._content())
            say(f"{address}: this store holds no locks; see to it that nobody else writes there")
        store.delete([self._lock(number) for number in before])

    def renew(self) -> None:
        """Gives a sign of life.

        Raises:
            Held: another process has taken this one for dead and works there now.
        """
        if max(self._numbers(), default=0) != self._number:
            raise Held(
                f"another process has taken over {self._address}, to which this one could not "
                "write for too long: what it did since then stays here"
            )
        if time.time() - self._renewed > LEASE_S / 10:
            self._renewed = time.time()
            self._store.write(self._lock(self._number), self._content())

    def release(self) -> None:
        """Gives the right up."""
        self._store.delete([self._lock(self._number)])

    def _numbers(self) -> list[int]:
        return sorted(int(name) for name in self._store.below(self._place) if name.isdigit())

    def _lock(self, number: int) -> Address:
        return self._place / f"{number:06d}"

    def _content(self) -> bytes:
        about = {"machine": this_machine(), "host": socket.gethostname(), "pid": os.getpid()}
        return json.dumps(about | {"owner": self._me, "renewed": self._renewed}).encode()

    def _holder(self, number: int) -> str | None:
        """Who holds a lock, in words; None where it is dead."""
        try:
            about = json.loads(self._store.read(self._lock(number)) or b"{}")
            here = about["machine"] == this_machine()
            living = alive(about["pid"]) if here else time.time() - about["renewed"] < LEASE_S
            return f"process {about['pid']} on {about['host']}" if living else None
        except (ValueError, KeyError, TypeError):
            return None
