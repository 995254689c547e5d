"""Files that are damaged or not what they say: one line that names the file and the place."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from synthdiv.corpora import Corpus
from synthdiv.errors import UserError

TEXTS = [f"text {i}: snow ☃" for i in range(50)]
ROWS = [{"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, compression="zstd")


def arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)


def array_record(path: Path) -> None:
    module = pytest.importorskip("array_record.python.array_record_module")
    proto = pytest.importorskip("tensorflow_datasets.proto").tf_example_pb2
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for row in ROWS:
        example = proto.Example()
        for name, value in row.items():
            example.features.feature[name].bytes_list.value.append(value.encode())
        writer.write(example.SerializeToString())
    writer.close()


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(LINES),
    "a.json": lambda path: path.write_text(json.dumps(ROWS)),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "a.jsonl.zst": lambda path: path.write_bytes(zstandard.compress(LINES)),
    "a.txt.zst": lambda path: path.write_bytes(zstandard.compress("\n\n".join(TEXTS).encode())),
    "a.csv": lambda path: path.write_text("id,text\n" + "".join(f"d,{t}\n" for t in TEXTS)),
    "a.parquet": parquet,
    "a.arrow": arrow,
    "a.array_record": array_record,
}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        list(Corpus(path))
    assert "\n" not in str(refused.value) and path.name in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert [d.text for d in Corpus(tmp_path / name)] == TEXTS


@pytest.mark.parametrize(
    "name", ["a.jsonl.gz", "a.jsonl.zst", "a.txt.zst", "a.parquet", "a.arrow", "a.array_record"]
)
def test_a_file_that_was_cut_off_is_no_shorter_corpus(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    for kept in (len(whole) - 1, len(whole) * 2 // 3, len(whole) // 2):
        if name == "a.arrow" and kept == len(whole) - 1:
            continue  # the last bytes only say that nothing follows
        path.write_bytes(whole[:kept])
        refusal(path)


def test_many_documents_that_were_cut_off_are_no_fewer(tmp_path: Path) -> None:
    """Cut between the blocks of a compressed file, all that comes before can be read."""
    draw = random.Random(0)
    texts = "\n\n".join(draw.randbytes(40).hex() for _ in range(20_000))
    whole = zstandard.compress(texts.encode())
    for kept in (len(whole) // 3, len(whole) // 2):
        (tmp_path / "a.txt.zst").write_bytes(whole[:kept])
        refusal(tmp_path / "a.txt.zst")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.array_record", "a.jsonl.zst"])
def test_garbage_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(random.Random(0).randbytes(5000))
    assert "cannot be read" in refusal(path)


def test_all_frames_of_a_zst_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(LINES[:0]) + zstandard.compress(LINES) * 2)
    assert [d.text for d in Corpus(path)] == TEXTS * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "x"}\n{"body": "y"}\n', "line 2 has no 'text'"),
        ('{"text": "x"}\n{"text": ["y"]}\n', "line 2: 'text' is list, not text"),
        ('{"text": "x"}\n{"n": %s, "text": "y"}\n' % ("[" * 1000 + "]" * 1000), "line 2"),
        ('{"text": "x"}\n{"n": %s, "text": "y"}\n' % ("[" * 200 + "]" * 200), "line 2"),
        ('{"text": "x"}\n{"n": %s, "text": "y"}\n' % ("1" * 5000), "line 2"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    assert words in refusal(tmp_path / "a.jsonl")


def test_a_parquet_row_without_text_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet row 1 has no 'text'"):
        list(Corpus(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,text\n1,x\n2\n", "line 3 has 1 values for 2 columns"),
        ('id,text\n1,"x\n\n\n', "is not CSV"),
        ("text,text\na,b\n", "two columns 'text'"),
    ],
)
def test_a_bad_csv_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert words in refusal(tmp_path / "a.csv")


def test_csv_with_what_spreadsheets_write(tmp_path: Path) -> None:
    """A byte order mark, CRLF, quoted line feeds, doubled quotes; a text of 200 KB."""
    long = "word " * 40_000
    content = f'﻿id,text\r\n1,"a ""b""\r\nc, d"\r\n2,{long}\r\n'
    (tmp_path / "a.csv").write_bytes(content.encode())
    first, second = Corpus(tmp_path / "a.csv")
    assert (first.id, first.text, second.text) == ("1", 'a "b"\r\nc, d', long)


def test_a_table_beside_a_corpus_is_none_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "statistics.csv").write_text("name,value\nx,1\n")
    assert len(Corpus(tmp_path)) == len(TEXTS)


def test_line_separators_inside_a_text_end_no_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be"
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    (tmp_path / "a.txt").write_text(text)
    assert [d.text for d in Corpus(tmp_path / "a.jsonl")] == [text]
    assert [d.text for d in Corpus(tmp_path / "a.txt")] == [text]


def test_line_ends_of_a_text_file_are_all_alike(tmp_path: Path) -> None:
    for name, end in (("a", b"\n"), ("b", b"\r\n"), ("c", b"\r")):
        (tmp_path / f"{name}.txt").write_bytes(b"one\ntwo\n\nthree".replace(b"\n", end))
    hashes = {Corpus(tmp_path / f"{name}.txt").sha256 for name in "abc"}
    assert len(hashes) == 1
    assert [d.text for d in Corpus(tmp_path / "c.txt")] == ["one\ntwo", "three"]


def test_nulls_are_empty_documents_that_are_counted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": null}\n{"text": ""}\n')
    corpus = Corpus(tmp_path / "a.jsonl")
    assert [d.text for d in corpus] == ["x", "", ""]
    assert len(corpus) == 3
    said = capsys.readouterr().err
    assert said.count("1 of 3 documents are empty: 'text' is null") == 1


def test_commands_take_hidden_files_and_commas_in_paths(tmp_path: Path) -> None:
    (tmp_path / ".a,b.jsonl").write_bytes(LINES)
    (tmp_path / "c.jsonl").write_bytes(LINES)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "synthdiv.score", "--output=out", "--llm=offline"),
            *("--input=.a,b.jsonl,c.jsonl", "--rounds=5", "--bind=Score.criteria_rounds=4"),
            *("--bind=Score.criteria_sets=2", "--bind=Score.with_baselines=False"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a,b" / "score.json").exists()
    assert (tmp_path / "out" / "c" / "score.json").exists()
