"""Local copies of what lies in a store: fetched object by object, verified, and used again.

They are kept in SYNTHDIV_CACHE (`~/.cache/synthdiv`), under `read/`, which may be removed at any
time when no command runs. What is large and read once, in order, passes through file by file.
"""

import atexit
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from synthdiv import hub
from synthdiv.errors import UserError
from synthdiv.machine import alive, this_machine
from synthdiv.progress import Progress, say
from synthdiv.storage import ledger
from synthdiv.storage.addresses import SCHEMES, Address, is_remote, parse
from synthdiv.storage.stores import Digest, store, version

AT_ONCE = 4  # objects
_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints/)(\d+)/")


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """An object to be read.

    Attributes:
        address: where it lies.
        size: in bytes.
        version: tells this state of it from a later one.
        known: what it may be, by its writer's list; empty where there is none.
    """

    address: Address
    size: int
    version: str
    known: tuple[Digest, ...] = ()

    @property
    def name(self) -> str:
        return self.address.name

    @property
    def sha256(self) -> str | None:
        """Of its bytes, where its writer says so; whoever reads it verifies that."""
        return self.known[0].sha256 if len(self.known) == 1 else None

    def head(self, size: int) -> bytes:
        """Its first bytes."""
        end = min(size, self.size)
        return store(self.address).head(self.address, end) if end else b""


def cache() -> Path:
    """Where local copies are."""
    return Path(os.environ.get("SYNTHDIV_CACHE") or Path.home() / ".cache" / "synthdiv").absolute()


def cached(kind: str, address: Address) -> Path:
    """Where the copy of an address has its place.

    Raises:
        UserError: nothing can be kept there.
    """
    try:
        cache().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"no cache {str(cache())!r}: {error.strerror}; SYNTHDIV_CACHE names another directory"
        ) from None
    return cache() / kind / address.scheme / address.path


def listing(address: Address) -> dict[str, RemoteFile]:
    """The objects at an address, by their names in it; a single object is called "".

    Of a directory that we wrote, those that its writer lists, and no other. Hidden ones are left
    out.
    """
    source = store(address)
    found = ledger.find(source, address)
    if found is not None:
        directory, listed = found
        within = address.path.removeprefix(directory.path).strip("/")
        if names := ledger.names_of([*listed.objects], within):
            _tell_of_others(address, directory, listed)
            return {
                name.removeprefix(within).strip("/"): RemoteFile(
                    directory / name, known[0].bytes, known[0].sha256, tuple(known)
                )
                for name in names
                if (known := listed.known(name))
            }
    if (info := source.info(address)) is not None:
        return {"": RemoteFile(address, info["size"], version(info))}
    return {
        name: RemoteFile(address / name, info["size"], version(info))
        for name, info in source.below(address).items()
        if not hidden(name)
    }


def hidden(name: str) -> bool:
    """Whether a name, or a directory that it is in, begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def _tell_of_others(address: Address, directory: Address, listed: ledger.Ledger) -> None:
    prefix = address.path.removeprefix(directory.path).strip("/")
    there = (f"{prefix}/{name}" if prefix else name for name in store(address).below(address))
    others = [name for name in there if not hidden(name) and name not in listed.objects]
    if others:
        say(f"{address}: left out {len(others):,} objects that its writer has not listed")


def fetch(given: str | Path) -> Path:
    """Returns where a file or directory lies here: a path as it is, of an address a copy.

    Raises:
        UserError: nothing is there, it cannot be read, or it is damaged.
        Away: the store does not answer.
    """
    if not is_remote(given):
        return Path(given)
    address = parse(str(given))
    if address.scheme == "hf":
        return hub.fetch_place(address.path)
    objects = listing(address)
    if not objects:
        raise UserError(f"nothing is at {address}")
    target = cached("read", address)
    if "" in objects:
        return copy_of(objects[""])
    objects = _newest(objects)
    with (
        Progress(len(objects), f"fetching {address}", "objects") as progress,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for _ in pool.map(copy_of, objects.values()):
            progress.update()
    for path in target.rglob("*"):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in objects and not hidden(name):
            path.unlink()  # of an earlier state
    return target


def _newest(objects: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
    """Without checkpoints that have a newer one beside them: each may be many gigabytes."""
    found = {name: _CHECKPOINT.match(name) for name in objects}
    newest: dict[str, int] = {}
    for one in filter(None, found.values()):
        newest[one[1]] = max(newest.get(one[1], 0), int(one[2]))
    return {
        name: objects[name]
        for name, one in found.items()
        if one is None or int(one[2]) == newest[one[1]]
    }


def told(path: str | Path) -> str:
    """A path as it is, or the address that it is a local copy of."""
    with contextlib.suppress(ValueError):
        kind, *parts = Path(path).absolute().relative_to(cache()).parts
        scheme, *rest = parts[1:] if kind == "written" else parts
        if scheme in SCHEMES:
            return f"{scheme}://{'/'.join(rest)}"
    return str(path)


def is_copy(path: Path) -> bool:
    """Whether a path is one of the copies, which nothing may be written to."""
    return path.absolute().is_relative_to(cache() / "read")


def copy_of(file: RemoteFile, kind: str = "read") -> Path:
    """Returns the copy of one object, fetched if it is not there as it is now."""
    target = cached(kind, file.address)
    record = cached(f"versions/{kind}", file.address)
    with contextlib.suppress(OSError, ValueError, TypeError):
        digest, state, size, changed = json.loads(record.read_text())
        now = target.stat()
        wanted = [one.sha256 for one in file.known]
        current = digest in wanted if wanted else state == file.version
        if current and (size, changed) == (now.st_size, now.st_mtime_ns):
            return target
    if target.is_dir():
        shutil.rmtree(target)
    got = _got(file, target)
    now = target.stat()
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps([got.sha256, file.version, now.st_size, now.st_mtime_ns]))
    return target


def _got(file: RemoteFile, target: Path) -> Digest:
    try:
        return store(file.address).get(file.address, target, file.known)
    except FileNotFoundError:
        raise UserError(f"{file.address} has gone since it was listed") from None


class Passage:
    """Files fetched one by one to be read in order, each away again when the next is read.

    Args:
        keep: whether they stay, as copies, for whoever reads them again.
    """

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._pool = ThreadPoolExecutor(1)
        self._ahead: tuple[RemoteFile, Future[Path]] | None = None

    @contextlib.contextmanager
    def reading(self, file: RemoteFile) -> Iterator[Path]:
        """Yields where the file lies for as long as it is read."""
        ahead, self._ahead = self._ahead, None
        path = ahead[1].result() if ahead and ahead[0] == file else self._fetched(file)
        try:
            yield path
        finally:
            self._done(path)

    def ahead(self, file: RemoteFile) -> None:
        """Begins to fetch the file that is read next."""
        self._ahead = (file, self._pool.submit(self._fetched, file))

    def close(self) -> None:
        """Ends what was begun."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with contextlib.suppress(Exception):  # nobody reads it any more
                self._done(ahead[1].result())
        self._pool.shutdown()

    def _fetched(self, file: RemoteFile) -> Path:
        if self._keep:
            return copy_of(file)
        target = Path(tempfile.mkdtemp(dir=_passing())) / file.name
        _got(file, target)
        return target

    def _done(self, path: Path) -> None:
        if not self._keep:
            shutil.rmtree(path.parent, ignore_errors=True)


def _passing() -> Path:
    """This process's place for files that pass through; those of processes that died go."""
    machine = hashlib.sha256(this_machine().encode()).hexdigest()[:12]
    own = cache() / "passing" / machine / str(os.getpid())
    if not own.exists():
        own.mkdir(parents=True)
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        for other in own.parent.iterdir():
            if not alive(int(other.name)):
                shutil.rmtree(other, ignore_errors=True)
    return own


def glimpse(given: str, largest: int = 64 << 20) -> Path:
    """Returns a copy of what an output holds, without what is large: for a look, never to work on.

    Where nothing is there, nothing is at the path either.
    """
    address = parse(given)
    objects: Mapping[str, RemoteFile] = listing(address)
    target = cached("seen", address)
    shutil.rmtree(target, ignore_errors=True)
    for one in objects.values():
        if one.size <= largest or one.name.endswith(".sqlite"):
            copy_of(one, "seen")
    return target
