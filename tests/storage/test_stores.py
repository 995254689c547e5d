"""Objects put and got: patience, and that wrong bytes are noticed."""

import errno
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synthdiv.errors import UserError
from synthdiv.storage import parse
from synthdiv.storage.stores import Away, Damaged, Digest, Store, digest_copy, store


@pytest.fixture
def source(bucket: str) -> Store:
    return store(parse(bucket))


class Faulty:
    """The files of a store, of which one method fails with these errors first."""

    def __init__(self, files: Any, method: str, errors: list[Exception]) -> None:
        self._files, self._method, self.errors = files, method, errors

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._files, name)
        if name != self._method:
            return method

        def failing(*arguments: Any, **named: Any) -> Any:
            if self.errors:
                raise self.errors.pop(0)
            return method(*arguments, **named)

        return failing


@pytest.fixture
def faulty(
    source: Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, list[Exception]], Faulty]]:
    def make(method: str, errors: list[Exception]) -> Faulty:
        files = Faulty(source._files, method, errors)
        monkeypatch.setattr(source, "_files", files)
        return files

    yield make


def test_a_busy_store_is_asked_again(
    source: Store, bucket: str, faulty: Any, tmp_path: Path
) -> None:
    place = parse(f"{bucket}/x")
    faulty("pipe_file", [OSError(errno.EBUSY, "reduce your rate"), TimeoutError("slow")])
    source.write(place, b"bytes")
    files = faulty("cat_ranges", [ConnectionResetError("gone"), EOFError("cut")])
    digest = source.get(place, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"bytes" and digest.bytes == 5
    assert files.errors == []


def test_a_store_that_stays_away_is_a_pause(source: Store, bucket: str, faulty: Any) -> None:
    faulty("pipe_file", [OSError(errno.EBUSY, f"busy {n}") for n in range(100)])
    with pytest.raises(Away, match="cannot be reached: .*busy"):
        source.write(parse(f"{bucket}/x"), b"bytes")


@pytest.mark.parametrize(
    "error",
    [PermissionError("Access Denied"), OSError("Forbidden: b/x"), ValueError("invalid bucket")],
)
def test_what_asking_again_cannot_change_is_told_at_once(
    source: Store, bucket: str, faulty: Any, error: Exception
) -> None:
    files = faulty("pipe_file", [error] * 2)
    with pytest.raises(UserError, match=str(error)):
        source.write(parse(f"{bucket}/x"), b"bytes")
    assert len(files.errors) == 1


def test_a_put_whose_answer_was_lost_is_not_another_writer(
    source: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parse(f"{bucket}/lock")
    put = source._files.pipe_file
    answers = [OSError(errno.EBUSY, "the answer was lost")]

    def lossy(*arguments: Any, **named: Any) -> None:
        put(*arguments, **named)
        if answers:
            raise answers.pop()

    monkeypatch.setattr(source._files, "pipe_file", lossy)
    assert source.create(place, b"me")
    assert not source.create(place, b"another")


def test_large_files_go_and_come_in_windows(
    source: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthdiv.storage import stores

    monkeypatch.setattr(stores, "_WINDOW", 7)
    monkeypatch.setattr(stores, "_PART", 28)
    content = bytes(range(256)) * 3 + b"end"
    (tmp_path / "a").write_bytes(content)
    digest = digest_copy(tmp_path / "a", tmp_path / "b")
    source.put(tmp_path / "b", parse(f"{bucket}/x"), digest)
    assert source.get(parse(f"{bucket}/x"), tmp_path / "c", [digest]) == digest
    assert (tmp_path / "c").read_bytes() == content
    parts = [hashlib.md5(content[i : i + 28]).digest() for i in range(0, len(content), 28)]
    in_parts = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    assert digest.md5 == (hashlib.md5(content).hexdigest(), in_parts)


def test_other_bytes_than_were_written_are_noticed(
    source: Store, bucket: str, tmp_path: Path
) -> None:
    place = parse(f"{bucket}/x")
    source.write(place, b"right")
    known = [Digest(5, hashlib.sha256(b"right").hexdigest())]
    source.get(place, tmp_path / "x", known)
    source.write(place, b"wrong")
    with pytest.raises(Damaged, match="its size or its SHA-256 is another"):
        source.get(place, tmp_path / "x", known)
    assert (tmp_path / "x").read_bytes() == b"right"
    assert [path.name for path in tmp_path.glob("*x*")] == ["x"]


def test_an_upload_that_arrives_broken_is_sent_again(
    source: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"right")
    digest = digest_copy(tmp_path / "a", tmp_path / "b")
    put, broken = source._files.put_file, [b"wrong", b"righ"]

    def breaking(path: str, there: str, **named: Any) -> None:
        if broken:
            source._files.pipe_file(there, broken.pop())
        else:
            put(path, there, **named)

    monkeypatch.setattr(source._files, "put_file", breaking)
    source.put(tmp_path / "b", parse(f"{bucket}/x"), digest)
    assert source.read(parse(f"{bucket}/x")) == b"right"
