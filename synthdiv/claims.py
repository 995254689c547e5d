"""Directories claimed for one piece of work: what was asked is written down, and others refused.

A directory whose record says one thing never answers for another, and no two processes work in it
at once. The record is JSON, written before the work begins; runs that agree in it go on with each
other's work.
"""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.files import check_dir, output_dir, read_json, write_json

FINGERPRINT = "fingerprint.json"
_NAMED = 3  # differences told
_LONGEST = 60  # characters of a value told
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_HASH_DIGITS = 12  # of a hash told
_UNCLAIMED = ("answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm")  # of use to any work

_held: set[str] = set()  # locks of this process, which the system would give it twice


class AtWork(UserError):
    """Another process is at work in the same place."""


@contextlib.contextmanager
def claim(record: str | Path, work: Mapping[str, Any], what: str) -> Iterator[None]:
    """Claims the directory of `record` for one piece of work, for as long as the context lasts.

    The directory is made if it is not there. Where the work ends with a `UserError` before it wrote
    anything, all is as it was before, so that the mistake can be mended in the same directory.

    Args:
        record: the file that says what the directory is for, by habit `DIR/fingerprint.json`; for
            a single output file, a file beside it.
        work: everything that decides the result, as JSON can hold it. What may change between two
            runs of the same work, such as caps and addresses, is left out.
        what: what such a directory holds, for messages: "corpus", "training run".

    Raises:
        UserError: the directory holds other work (names the differences), another process is
            working in it, or it cannot be written.
    """
    record = Path(record)
    is_new = not os.path.exists(record.parent)  # Path.exists fails where a name is too long
    directory = output_dir(record.parent)
    try:
        with locked(record.with_name(f".{record.name}.lock"), directory):
            check_claim(record, work, what)
            before = None if record.exists() else _names(directory)
            if before is not None:
                write_json(record, plain(work))
            try:
                yield
            except UserError:
                kept = {record.name, *_UNCLAIMED}
                if before is not None and not _names(directory) - before - kept:
                    record.unlink(missing_ok=True)
                raise
    except UserError:
        if is_new:
            with contextlib.suppress(OSError):  # something is in it
                directory.rmdir()
        raise


def check_claim(record: str | Path, work: Mapping[str, Any], what: str) -> None:
    """Refuses a directory that holds other work; writes and locks nothing, as a dry run wants it.

    Raises:
        UserError: the record is of other work, names the differences; or it is no directory.
    """
    record = Path(record)
    check_dir(record.parent)
    if not os.path.exists(record):
        return
    before = read_json(record)
    kind = before.get("kind") if isinstance(before, dict) else None
    if kind is not None and kind != work.get("kind"):
        raise UserError(
            f"{str(record.parent)!r} holds other work ({kind}), and no {what}: take another"
            " directory, or remove that one"
        )
    differing = differences(before, work)
    if differing:
        more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise UserError(
            f"{str(record.parent)!r} holds another {what} ({'; '.join(differing[:_NAMED])}{more}): "
            "take another directory, or remove that one"
        )


def differences(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Returns in words what differs between a record and the work at hand.

    A name at the top that the record lacks is no difference: an older version did not write it.
    """
    if not isinstance(before, dict):
        return ["its record is not one of ours"]
    old = _flat(before)
    new = _flat({name: value for name, value in plain(now).items() if name in before})
    return [
        f"{name} was {_short(old.get(name))} and is now {_short(new.get(name))}"
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
    ]


def plain(work: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `work` as it comes back from JSON: tuples are lists, paths are strings."""
    return json.loads(json.dumps(dict(work), default=str))


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _short(value: Any) -> str:
    if isinstance(value, str) and _HASH.fullmatch(value):
        value = value[:_HASH_DIGITS]
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


@contextlib.contextmanager
def locked(path: Path, place: Path) -> Iterator[None]:
    """Holds the lock file `path`. The system releases it when the process ends, however it ends.

    Args:
        path: of the lock.
        place: what it guards, for messages.

    Raises:
        AtWork: it is held.
    """
    try:
        import fcntl
    except ImportError:  # a system without POSIX locks
        yield
        return
    key = os.path.realpath(path)
    if key in _held:
        raise AtWork(f"this process is at work in {str(place)!r} already")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Not flock: a forked worker would inherit that, and keep it when its parent is killed.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            owner = os.read(descriptor, 200).decode("utf-8", "replace") or "another process"
            os.close(descriptor)
            raise AtWork(
                f"{owner} is at work in {str(place)!r}: wait for it, or end it first"
            ) from None
        except OSError:
            break  # storage that has no locks
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                break
        os.close(descriptor)  # its last holder has just removed it: make it anew
    _held.add(key)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        _held.discard(key)
        path.unlink(missing_ok=True)
        os.close(descriptor)
