"""Lines from outside: what is read, and which file and line a fault is in."""

import gzip
import json
import random
from pathlib import Path

import pytest
import zstandard

from synthdiv.errors import UserError
from synthdiv.json_lines import json_lines, text_lines

ROWS = [{"text": f"line {i} \u2028\x85\u2029 {random.Random(i).random()}"} for i in range(5000)]


def written(path: Path, text: bytes) -> Path:
    if path.suffix == ".gz":
        text = gzip.compress(text)
    if path.suffix == ".zst":
        half = len(text) // 2  # two frames, as two files put together have
        text = b"".join(zstandard.compress(part) for part in (text[:half], text[half:]))
    path.write_bytes(text)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_lines_end_at_line_feeds_alone(tmp_path: Path, name: str) -> None:
    text = "\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    read = list(json_lines(written(tmp_path / name, text.encode())))
    assert [row for _, row in read] == ROWS
    assert [number for number, _ in read] == list(range(1, 10_000, 2))


def test_an_array_is_read_by_element(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", json.dumps(ROWS, indent=1).encode())
    assert list(json_lines(path)) == list(enumerate(ROWS, 1))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.98])
def test_a_compressed_file_that_was_cut_is_no_shorter_file(
    tmp_path: Path, name: str, share: float
) -> None:
    path = written(tmp_path / name, "\n".join(map(json.dumps, ROWS)).encode())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"cannot be read( after line \d+)?: .*(ended|Trunc)"):
        list(json_lines(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2 is not JSON: Expecting value$"),
        (b'{"a": 1}\n\n{"a": "cut o', r"line 3 is not JSON: .*\(the file's last line looks trunc"),
        (b'{"a": 1}\n{"b": "\xff"}\n', "line 2 is not UTF-8 text: invalid start byte"),
        (b'{"a": 1}\n3\n', "line 2 is not a JSON object"),
        (b'{"a": 1}\n{"a": ' + b"[" * 100_000 + b"\n", "line 2 is nested too deep"),
        (b'{"a": ' + b"7" * 5000 + b"}\n", "line 1 holds a number of too many digits"),
        (b'[{"a": 1},\n 3]', "element 2 is not a JSON object"),
        (b'[{"a": 1},\n {"a" 3}]\n', "line 2 is not JSON: Expecting ':'"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path: Path, content: bytes, said: str) -> None:
    for name in ("a.jsonl", "a.jsonl.zst"):
        with pytest.raises(UserError, match=rf"{name} {said}"):
            list(json_lines(written(tmp_path / name, content)))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file '.*missing.txt'"):
        list(text_lines(tmp_path / "missing.txt"))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        list(text_lines(tmp_path))
    (tmp_path / "a.zst").write_bytes(b"no zstd at all")
    with pytest.raises(UserError, match=r"a\.zst cannot be read: \S+"):
        list(text_lines(tmp_path / "a.zst"))
