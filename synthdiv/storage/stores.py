"""Object stores: objects put and got whole, with patience, each verified.

A store is reached through fsspec, with the store's own credentials, out of the environment.
"""

import base64
import dataclasses
import functools
import hashlib
import importlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from synthdiv.errors import Paused, UserError, first_line
from synthdiv.progress import say
from synthdiv.storage.addresses import SCHEMES, Address

V = TypeVar("V")

_TRIES = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 16.0  # so that all tries take about a minute
_PART = 64 << 20  # bytes of a part of a large upload; S3 takes 10,000 parts
_WINDOW = 8 << 20  # bytes asked for at once
_WINDOWS = 4  # requests in flight for one object
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
_FINAL = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")
_USERINFO = re.compile(r"(\w+://)[^\s/]*@")
_SIGNATURE = re.compile(r"\?\S*(?:Signature|Credential|sig=|oken)\S*")


class Away(Paused):
    """A store does not answer, or not as it should, however often it is asked."""


class Damaged(UserError):
    """An object is not what was written there."""


@dataclasses.dataclass(frozen=True)
class Digest:
    """What tells bytes apart.

    Attributes:
        bytes: how many.
        sha256: in hex.
        md5: in hex; and of an upload in parts, as S3 counts it: of the parts' digests, and their
            number. Empty where nobody told.
    """

    bytes: int
    sha256: str
    md5: tuple[str, ...] = ()


def words(error: BaseException) -> str:
    """What an error says, in one line, without credentials."""
    text = first_line(error)
    for name in _SECRETS:
        if len(value := os.environ.get(name, "")) > 3:
            text = text.replace(value, "***")
    return _SIGNATURE.sub("?***", _USERINFO.sub(r"\1***@", text))


class Store:
    """The objects of one scheme.

    Every request is made again, with growing pauses, where the store is busy, broken or silent.

    Raises:
        UserError: from all methods: no access, or a package is missing.
        Away: from all methods: it still does not answer after the last try.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self._files = _filesystem(scheme)

    def info(self, address: Address) -> Mapping[str, Any] | None:
        """What the store says of one object; None where there is none."""
        try:
            found = self._asked(address, lambda: self._files.info(address.path))
        except FileNotFoundError:
            return None
        return found if found["type"] == "file" else None

    def below(self, address: Address) -> dict[str, Mapping[str, Any]]:
        """The objects below an address, by their names from there."""
        try:
            found = self._asked(address, lambda: self._files.find(address.path, detail=True))
        except FileNotFoundError:
            return {}
        inside = address.path + "/"
        names = {path.lstrip("/"): one for path, one in found.items()}
        return {
            path.removeprefix(inside): one
            for path, one in names.items()
            if path.startswith(inside) and not path.endswith("/")
        }

    def matches(self, pattern: Address) -> list[Address]:
        """The objects and directories that match a pattern."""
        found = self._asked(pattern, lambda: self._files.glob(pattern.path))
        return [Address(self.scheme, path.strip("/")) for path in sorted(found)]

    def read(self, address: Address) -> bytes | None:
        """A small object; None where there is none."""
        try:
            return bytes(self._asked(address, lambda: self._files.cat_file(address.path)))
        except FileNotFoundError:
            return None

    def head(self, address: Address, size: int) -> bytes:
        """The first bytes of an object that has as many, or all."""
        return bytes(
            self._asked(address, lambda: self._files.cat_file(address.path, start=0, end=size))
        )

    def write(self, address: Address, content: bytes) -> None:
        """Puts a small object in one request: it is there whole, or not at all."""
        self._sent(address, lambda: self._files.pipe_file(address.path, content))

    def create(self, address: Address, content: bytes) -> bool:
        """Puts a small object if there is none; returns whether it was put."""
        try:
            self._sent(address, lambda: self._files.pipe_file(address.path, content, mode="create"))
        except FileExistsError:
            return self.read(address) == content  # a try whose answer was lost may have put it
        return True

    def delete(self, addresses: Sequence[Address]) -> None:
        """Removes objects that may be gone already."""
        for address in addresses:
            try:
                self._asked(address, functools.partial(self._files.rm_file, address.path))
            except FileNotFoundError:
                continue

    def put(self, source: Path, address: Address, digest: Digest) -> None:
        """Puts a file, and makes sure of what is there then.

        A large one goes up in parts, which become an object all at once.

        Raises:
            Away: as all; or what the store holds is not the file, however often it is sent.
        """
        options = {"chunksize": _PART, "max_concurrency": 2} if self.scheme == "s3" else {}
        for _ in range(_TRIES):
            self._sent(address, lambda: self._files.put_file(str(source), address.path, **options))
            if self._holds(address, digest):
                return
        raise Away(f"{address} holds other bytes than were written there")

    def _holds(self, address: Address, digest: Digest) -> bool:
        found = self.info(address)
        if found is None or found["size"] != digest.bytes:
            return False
        if _told_md5(found) in digest.md5:
            return True
        # Encrypted objects, and stores that tell no digest: read back.
        reading = hashlib.sha256()
        for part in self._windows(address, digest.bytes):
            reading.update(part)
        return reading.hexdigest() == digest.sha256

    def get(self, address: Address, target: Path, known: Sequence[Digest] = ()) -> Digest:
        """Gets an object into a file that does not count before it is whole and verified.

        Args:
            address: of the object.
            target: the file, replaced if it is there.
            known: what the object may be; by default what the store says.

        Raises:
            Damaged: it is something else, twice.
            FileNotFoundError: there is no such object.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.{os.getpid()}.{random.getrandbits(32):x}.tmp")
        read: list[str] = []
        try:
            for _ in range(3):
                before = self.info(address)
                if before is None:
                    raise FileNotFoundError(str(address))
                with half.open("wb") as file:
                    digest = _written(self._windows(address, before["size"]), file)
                read.append(digest.sha256)
                if self._is_right(address, digest, before, known, read):
                    os.replace(half, target)
                    return digest
        finally:
            half.unlink(missing_ok=True)
        raise Damaged(
            f"{address} is not what was written there: its size or its SHA-256 is another"
            if known
            else f"{address} cannot be read: its bytes differ from one reading to the next"
        )

    def _is_right(
        self,
        address: Address,
        digest: Digest,
        before: Mapping[str, Any],
        known: Sequence[Digest],
        read: Sequence[str],
    ) -> bool:
        """Whether what was read is what was written, as far as anybody says what that is."""
        if known:
            return any((digest.bytes, digest.sha256) == (one.bytes, one.sha256) for one in known)
        told = _told_md5(before)
        if told in digest.md5 or read.count(digest.sha256) > 1:  # an ETag need not be an MD5
            return True
        if told is not None and "-" not in told:
            return False
        after = self.info(address)  # put in parts that are not ours: was it put anew meanwhile?
        return after is not None and version(after) == version(before)

    def _windows(self, address: Address, size: int) -> Iterator[bytes]:
        """The bytes of an object, in parts that fit into memory; each is asked for patiently."""
        starts = range(0, size, _WINDOW)
        for first in range(0, len(starts), _WINDOWS):
            some = list(starts[first : first + _WINDOWS])
            ends = [min(start + _WINDOW, size) for start in some]
            yield from self._asked(
                address, functools.partial(self._ranges, address.path, some, ends)
            )

    def _ranges(self, path: str, starts: list[int], ends: list[int]) -> list[bytes]:
        paths = [path] * len(starts)
        parts = self._files.cat_ranges(paths, starts, ends, on_error="raise")
        for part, start, end in zip(parts, starts, ends, strict=True):
            if len(part) != end - start:
                raise EOFError(f"{len(part)} bytes came instead of {end - start}")
        return [bytes(part) for part in parts]

    def _sent(self, address: Address, call: Callable[[], object]) -> None:
        try:
            self._asked(address, call)
        except FileNotFoundError as error:
            raise UserError(f"{address} cannot be written: {words(error)}") from None

    def _asked(self, address: Address, call: Callable[[], V]) -> V:
        wait = _FIRST_WAIT_S
        for tried in range(1, _TRIES + 1):
            try:
                return call()
            except (FileNotFoundError, FileExistsError):
                raise
            except PermissionError as error:
                raise UserError(f"{address}: no access: {words(error)}") from None
            except Exception as error:
                if _is_final(error):
                    raise UserError(f"{address}: {words(error)}") from None
                if isinstance(error, OSError) and error.filename and error.errno:
                    raise  # of the disk here
                if tried == _TRIES:
                    raise Away(f"{address} cannot be reached: {words(error)}") from error
                if tried == 3:
                    say(f"{address}: {words(error)}; trying again")
            time.sleep(wait * random.uniform(0.75, 1.25))
            wait = min(2 * wait, _LONGEST_WAIT_S)
        raise AssertionError("unreachable")


def _is_final(error: Exception) -> bool:
    """Whether asking again would change nothing: a name that cannot be one, no credentials."""
    if type(error).__name__ in _FINAL or str(getattr(error, "code", "")) in ("401", "403"):
        return True
    if isinstance(error, ValueError):
        return not isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
    return str(error).startswith("Forbidden")  # as gcsfs puts it


def digest_copy(source: Path, target: Path) -> Digest:
    """Copies a file as it is now, what others append meanwhile left out; returns its digest."""
    size = source.stat().st_size

    def parts() -> Iterator[bytes]:
        left = size
        with source.open("rb") as file:
            while left and (part := file.read(min(left, _WINDOW))):
                left -= len(part)
                yield part

    with target.open("wb") as file:
        return _written(parts(), file)


def _written(parts: Iterator[bytes], file: Any) -> Digest:
    """Writes parts, and returns the digest of all; MD5 as S3 tells it of what this module puts."""
    size, whole, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    pieces, piece = [], hashlib.md5(usedforsecurity=False)
    for part in parts:
        file.write(part)
        whole.update(part)
        md5.update(part)
        piece.update(part)
        size += len(part)
        if size % _PART == 0:  # windows divide it
            pieces.append(piece.digest())
            piece = hashlib.md5(usedforsecurity=False)
    told: tuple[str, ...] = (md5.hexdigest(),)
    if size >= 2 * _PART:  # from there on s3fs uploads in parts
        pieces += [piece.digest()] if size % _PART else []
        joined = hashlib.md5(b"".join(pieces), usedforsecurity=False)
        told = (*told, f"{joined.hexdigest()}-{len(pieces)}")
    return Digest(size, whole.hexdigest(), told)


def _told_md5(info: Mapping[str, Any]) -> str | None:
    """The MD5 that a store tells of an object, as S3 or Google writes it."""
    if (etag := info.get("ETag")) is not None:
        return str(etag).strip('"')
    if (told := info.get("md5Hash")) is not None:
        return base64.b64decode(told).hex()
    return None


def version(info: Mapping[str, Any]) -> str:
    """Tells one state of an object from a later one."""
    names = ("ETag", "etag", "generation", "blob_id", "oid", "created", "LastModified")
    return repr([info.get("size"), *(str(info[name]) for name in names if info.get(name))])


def store(address: Address) -> Store:
    """The store that an address is of.

    Raises:
        UserError: the package for it is missing; says how to install it.
    """
    return _store(address.scheme, os.getpid())


@functools.cache
def _store(scheme: str, _process: int) -> Store:
    return Store(scheme)


def _filesystem(scheme: str) -> Any:
    package, extra = SCHEMES[scheme]
    try:
        importlib.import_module(package)
        import fsspec
    except ImportError:
        raise UserError(f"{scheme}:// needs {package}: pip install 'synthdiv[{extra}]'") from None
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":
        options["config_kwargs"] = _s3_settings(fsspec.config.conf.get("s3", {}))
    files = fsspec.filesystem(scheme, **options)
    if scheme == "s3":
        files.retries = 1  # `Store` tries again itself
    return files


def _s3_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Timeouts and one try; of a server that is not Amazon's, buckets as paths."""
    settings: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 30}
    settings["retries"] = {"total_max_attempts": 1}
    elsewhere = given.get("endpoint_url") or any(
        os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )
    if elsewhere:
        settings["s3"] = {"addressing_style": "path"}
    return settings | dict(given.get("config_kwargs", {}))
