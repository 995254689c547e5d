"""A local working copy of what a command writes to a store, mirrored there while it works.

The command works on local files, with all that they can do and a store cannot: renaming,
appending, SQLite. What is whole goes up from a thread of its own, at moments at which the
directory is one that the command could have been killed at; so a store holds at every moment what
a kill a little earlier would have left. Killed, the same command goes on, on this machine from its
working copy, on another from the store.
"""

import _thread
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from synthdiv.errors import Paused, UserError, first_line
from synthdiv.progress import Progress, say
from synthdiv.storage import ledger
from synthdiv.storage.addresses import Address, is_remote, parse
from synthdiv.storage.copies import AT_ONCE, cache, cached, hidden
from synthdiv.storage.ledger import Ledger
from synthdiv.storage.lock import Held, Lock
from synthdiv.storage.stores import Away, Digest, Store, digest_copy, store

_EVERY_S = 15.0  # between two looks, at least, and
_SHARE = 10  # times as long as a look took
_SETTLED_NS = 1_000_000_000  # before a look: what was written then, it sees with all before it
_COMMITS = ("manifest.json",)  # go last, for readers who go by them
_PASSING = (".tmp", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal")
_HALF = ".orbax-checkpoint-tmp"  # in the name of a checkpoint that is not whole

Signature = list[int]


def check_output(given: str) -> Address:
    """Reads the address of an output.

    Raises:
        UserError: nothing can be written there.
    """
    address = parse(given)
    if address.scheme == "hf":
        raise UserError(
            f"{address}: hf:// is only read; write to a directory or a bucket, and upload that "
            "with `hf upload`"
        )
    if not address.within_bucket:
        raise UserError(f"{address} is a bucket: name a directory in it, {address}/NAME")
    return address


@contextlib.contextmanager
def workspace(given: str | Path) -> Iterator[Path]:
    """Yields the local path to write to: a path as it is, of an address its working copy.

    When the context ends, however it ends, what is there is in the store; where it ended well, all
    of it is verified, or `Away` says what to do.

    Raises:
        UserError: nothing can be written there, or others write there.
        Away: the store does not answer; all is kept here, and the same work goes on from it.
    """
    if not is_remote(given):
        yield Path(given)
        return
    address = check_output(str(given))
    source = store(address)
    lock = Lock(source, address)
    try:
        copy = WorkingCopy(source, address)
        mirror = _Mirror(copy, lock)
        mirror.start()
        try:
            yield copy.path
        except KeyboardInterrupt:
            if mirror.lost is not None:
                raise mirror.lost from None
            _leave(mirror, address)
            raise
        except BaseException:
            _leave(mirror, address)
            raise
        mirror.finish()
        objects = copy.listed.objects.values()
        size = sum(one.bytes for one in objects)
        say(f"{address}: {len(objects):,} objects of {size:,} bytes, verified")
    finally:
        with contextlib.suppress(Away, UserError):
            lock.release()


def _leave(mirror: "_Mirror", address: Address) -> None:
    """Puts what there is, where the work has ended with an error that is to be told instead."""
    try:
        mirror.finish()
    except (UserError, Paused, OSError) as error:
        say(f"warning: {address} lacks what was done last: {first_line(error)}")


class WorkingCopy:
    """The local files of an address, and what of them the store has.

    Args:
        source: the store.
        address: what is written; its working copy is made as the store has it, or stays as a killed
            process of this machine left it, if nobody has written there since.
    """

    def __init__(self, source: Store, address: Address) -> None:
        self._source, self._address = source, address
        self._directory, self._prefix = ledger.beside(address)
        name = hashlib.sha256(str(address).encode()).hexdigest()[:16]
        self.path = cached(f"written/{name}", address)
        self._local = self.path.parent if self._prefix else self.path
        self._record = cache() / "written" / f"{name}.json"
        place = ledger.place(address)
        encoded = source.read(place)
        self._listed_there = encoded is not None
        self.listed = Ledger({}) if encoded is None else Ledger.decode(encoded, place)
        lists, self._seen = self._recorded()
        self._lists = [_hash(encoded)]  # that the store may have, if nobody else wrote there
        if self._lists[0] in lists:
            for half_done in self.listed.before:
                self._seen.pop(half_done, None)
        else:
            self._set_aside()
            self._fetch()
        self._local.mkdir(parents=True, exist_ok=True)
        self._save()

    def look(self, all_of_it: bool = False) -> None:
        """Puts what is new and whole, and lists it; what is gone here goes there, too.

        Args:
            all_of_it: nothing is being written, so nothing has to settle.
        """
        began = None if all_of_it else time.time_ns()
        found = self._files()
        gone = [name for name in self.listed.objects if name not in found]
        halves = {_unit(name) for name in gone}
        found = {name: one for name, one in found.items() if _unit(name) not in halves}
        settled = _settled(found, began)
        changed = [name for name in settled if found[name] != self._seen.get(name)]
        objects = {name: one for name, one in self.listed.objects.items() if name in found}
        lost = [name for name in self.listed.objects if name not in objects]
        if not changed and not lost:
            return
        if not self._listed_there:
            self._list(Ledger({}))
        with tempfile.TemporaryDirectory(dir=self._record.parent, prefix="spool-") as spool:
            again = self._snapshots([name for name in changed if name in objects], Path(spool))
            put = {name: digest for name, (_, digest) in again.items()}
            if put:
                self._list(Ledger(objects | put, {name: self.listed.known(name) for name in put}))
            new = [name for name in changed if name not in objects]
            commits = [name for name in new if Path(name).name in _COMMITS]
            with ThreadPoolExecutor(AT_ONCE) as pool, contextlib.ExitStack() as stack:
                jobs = [pool.submit(self._put, name, *one) for name, one in again.items()]
                data = [name for name in new if name not in commits]
                jobs += [pool.submit(self._put_new, name, Path(spool)) for name in data]
                bar = None
                if all_of_it:  # somebody waits for it
                    label = f"putting into {self._address}"
                    bar = stack.enter_context(Progress(len(jobs), label, "objects"))
                for job in jobs:
                    put |= job.result()
                    if bar is not None:
                        bar.update()
            for name in sorted(commits, key=lambda name: found[name][1]):
                put |= self._put_new(name, Path(spool))
        self._list(Ledger(objects | put))
        kept = {name: seen for name, seen in self._seen.items() if name in found}
        self._seen = kept | {name: found[name] for name in put}
        self._lists = self._lists[-1:]
        self._save()
        self._source.delete([self._directory / name for name in lost])

    def _put_new(self, name: str, spool: Path) -> dict[str, Digest]:
        """Puts an object of a name that was not there; nothing where it has just gone here."""
        for taken in self._snapshots([name], spool).values():
            return self._put(name, *taken)
        return {}

    def _put(self, name: str, snapshot: Path, digest: Digest) -> dict[str, Digest]:
        self._source.put(snapshot, self._directory / name, digest)
        snapshot.unlink()
        return {name: digest}

    def _snapshots(self, names: Sequence[str], spool: Path) -> dict[str, tuple[Path, Digest]]:
        """Files as they are now, whoever goes on writing to them."""
        taken = {}
        for name in names:
            path, target = self._local / name, spool / uuid.uuid4().hex
            with contextlib.suppress(FileNotFoundError):
                if _is_database(name):
                    copied = target.with_suffix(".copied")
                    _back_up(path, copied)
                    path = copied
                taken[name] = (target, digest_copy(path, target))
        return taken

    def _list(self, listed: Ledger) -> None:
        """Puts the list; a kill at any moment leaves a record that knows what may be there."""
        encoded = listed.encode()
        self._lists.append(_hash(encoded))
        self._save()
        self._source.write(ledger.place(self._address), encoded)
        self.listed, self._listed_there = listed, True

    def _files(self) -> dict[str, Signature]:
        """What is here and may be put, each with what changes when it does."""
        found: dict[str, Signature] = {}
        for folder, inside, names in os.walk(self._local):
            inside[:] = [one for one in inside if not one.startswith(".") and _HALF not in one]
            for file in names:
                path = Path(folder, file)
                name = path.relative_to(self._local).as_posix()
                if name.startswith(self._prefix) and not (hidden(file) or file.endswith(_PASSING)):
                    with contextlib.suppress(FileNotFoundError):
                        found[name] = _signature(path)
        return found

    def _fetch(self) -> None:
        """Makes the working copy as the store has it."""
        if not self.listed.objects and not self._prefix and not self._listed_there:
            strange = [n for n in self._source.below(self._address) if not hidden(n)]
            if strange:
                raise UserError(
                    f"{self._address} holds what no synthdiv command wrote ({strange[0]!r}): take "
                    "another address"
                )

        def got(name: str) -> tuple[str, Digest]:
            here, there = self._local / name, self._directory / name
            try:
                return name, self._source.get(there, here, self.listed.known(name))
            except FileNotFoundError:
                raise UserError(
                    f"{there} is listed in {ledger.place(self._address)} and not there: take "
                    "another address, or remove all of this one"
                ) from None

        with (
            Progress(len(self.listed.objects), f"fetching {self._address}", "objects") as progress,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            found = {}
            for name, digest in pool.map(got, self.listed.objects):
                found[name] = digest
                progress.update()
        self.listed = Ledger(found)
        self._seen = self._files()

    def _set_aside(self) -> None:
        """Keeps what is here, and not in the store, away from the copy that is made anew."""
        top = self._local
        if not top.exists():
            return
        if self._record.exists() and self._files() != self._seen:
            aside = cache() / "set-aside" / f"{self._record.stem}-{time.time_ns()}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            top.rename(aside)
            say(
                f"{self._address}: another machine has gone on with this work; what was done here "
                f"since is set aside in {aside}"
            )
        else:
            shutil.rmtree(top)

    def _recorded(self) -> tuple[list[str], dict[str, Signature]]:
        try:
            content = json.loads(self._record.read_text())
            return content["lists"], content["seen"]
        except (OSError, ValueError, KeyError):
            return [], {}

    def _save(self) -> None:
        self._record.parent.mkdir(parents=True, exist_ok=True)
        half = self._record.with_suffix(".tmp")
        half.write_text(json.dumps({"lists": self._lists, "seen": self._seen}))
        os.replace(half, self._record)


class _Mirror(threading.Thread):
    """Looks at a working copy now and then, and gives signs of life, until it is told to finish."""

    def __init__(self, copy: WorkingCopy, lock: Lock) -> None:
        super().__init__(name="storage", daemon=True)
        self._copy, self._lock = copy, lock
        self._ending = threading.Event()
        self.lost: Held | None = None

    def run(self) -> None:
        every = float(os.environ.get("SYNTHDIV_SYNC_S") or _EVERY_S)
        pause, said = every, ""
        while not self._ending.wait(pause):
            began = time.monotonic()
            try:
                self._lock.renew()
                self._copy.look()
                said = ""
            except Held as held:
                self.lost = held
                _thread.interrupt_main()
                return
            except (UserError, Paused, OSError) as error:
                if first_line(error) != said:
                    said = first_line(error)
                    say(f"warning: {said}; the work goes on, and is put there later")
            pause = max(every, _SHARE * (time.monotonic() - began))

    def finish(self) -> None:
        """Ends the looks with a last one, at all there is.

        Raises:
            Held: another process has taken over.
            Away: the store does not answer.
        """
        self._ending.set()
        self.join()
        if self.lost is not None:
            raise self.lost
        try:
            self._lock.renew()
            self._copy.look(all_of_it=True)
        except Held:
            raise
        except (Away, UserError) as error:
            kept = f"{error}; all is kept in {self._copy.path}: run the same again"
            raise type(error)(kept) from None


def _settled(found: Mapping[str, Signature], began: int | None) -> list[str]:
    """What was whole before a look began, so that it saw all that was written before that."""
    if began is None:
        return list(found)
    latest: dict[str, int] = {}
    for name, (_, changed, *_) in found.items():
        latest[_unit(name)] = max(latest.get(_unit(name), 0), changed)
    return [n for n in found if _is_database(n) or latest[_unit(n)] < began - _SETTLED_NS]


def _unit(name: str) -> str:
    """What a file is whole with: its checkpoint, a directory called by a number; else itself."""
    parts = name.split("/")
    number = next((i for i, part in enumerate(parts[:-1]) if part.isdigit()), len(parts))
    return "/".join(parts[: number + 1])


def _signature(path: Path) -> Signature:
    """Changes when the file does; of a database, when its log does, too."""
    files = [path, path.with_name(f"{path.name}-wal")] if _is_database(path.name) else [path]
    stats = [file.stat() for file in files if file == path or file.exists()]
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]


def _is_database(name: str) -> bool:
    return name.endswith(".sqlite")


def _back_up(database: Path, target: Path) -> None:
    """Copies a database as it stands between two transactions."""
    with (
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def _hash(encoded: bytes | None) -> str:
    return hashlib.sha256(encoded or b"").hexdigest()
