"""Corpora of every format read alike; what is written is whole or absent, even under SIGKILL."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from synthdiv import files
from synthdiv.errors import UserError

TEXTS = ["one", "zwei\nlines", "trois \u2603"]
ROWS = [{"id": f"d{i}", "text": t, "topic": "x"} for i, t in enumerate(TEXTS)]


def jsonl(rows):
    return "".join(json.dumps(r) + "\n" for r in rows)


def write_formats(directory):
    import pyarrow as pa
    import zstandard

    (directory / "a.jsonl").write_text(jsonl(ROWS))
    (directory / "b.json").write_text(json.dumps(ROWS))
    with gzip.open(directory / "c.jsonl.gz", "wt") as file:
        file.write(jsonl(ROWS))
    (directory / "d.jsonl.zst").write_bytes(zstandard.compress(jsonl(ROWS).encode()))
    writer = files.CorpusWriter(directory / "e")
    writer.write(ROWS[:2])
    writer.write(ROWS[2:])
    writer.close({"documents": 3})
    os.link(directory / "e" / "shard-00000.parquet", directory / "f.parquet")
    table = pa.Table.from_pylist(ROWS)
    (directory / "g").mkdir()
    with pa.ipc.new_stream(directory / "g" / "data-0.arrow", table.schema) as stream:
        stream.write_table(table)
    (directory / "g" / "dataset_info.json").write_text("{}")
    return [directory / n for n in ("a.jsonl", "b.json", "c.jsonl.gz", "d.jsonl.zst", "e", "g")]


def test_every_format_gives_the_same_documents(tmp_path):
    corpora = [files.Corpus(p) for p in write_formats(tmp_path)]
    for corpus in corpora:
        assert [d.text for d in corpus] == TEXTS
        assert [d.id for d in corpus] == ["d0", "d1", "d2"]
        assert corpus.take([2, 0])[0].provenance == {"topic": "x"}
        assert len(corpus) == 3
    assert len({c.sha256 for c in corpora}) == 1
    assert len(files.Corpus(tmp_path / "f.parquet")) == 2


def test_the_hash_knows_where_documents_end(tmp_path):
    (tmp_path / "a.jsonl").write_text(jsonl([{"text": "ab"}, {"text": "c"}]))
    (tmp_path / "b.jsonl").write_text(jsonl([{"text": "a"}, {"text": "bc"}]))
    assert files.Corpus(tmp_path / "a.jsonl").sha256 != files.Corpus(tmp_path / "b.jsonl").sha256


def test_plain_text_is_split_at_blank_lines(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n\nzwei\nlines\n \ntrois")
    assert [d.text for d in files.Corpus(tmp_path / "a.txt")] == ["one", "zwei\nlines", "trois"]


def test_array_records_of_tf_examples(tmp_path):
    """As TFDS prepares them; the messages are built by protobuf, not by us."""
    array_record = pytest.importorskip("array_record.python.array_record_module")
    example = tf_example_class()
    writer = array_record.ArrayRecordWriter(str(tmp_path / "c4-train.array_record-00000-of-00001"))
    for i, text in enumerate(TEXTS):
        message = example()
        message.features.feature["text"].bytes_list.value.append(text.encode())
        message.features.feature["n"].int64_list.value.extend([-i, 7])
        message.features.feature["x"].float_list.value.append(0.5)
        writer.write(message.SerializeToString())
    writer.close()
    documents = list(files.Corpus(tmp_path))
    assert [d.text for d in documents] == TEXTS
    assert documents[2].provenance == {"n": [-2, 7], "x": 0.5}


def tf_example_class():
    """tf.train.Example, declared as TensorFlow's own .proto file declares it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    proto = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(parent, name, *fields):
        added = parent.add(name=name)
        for number, (field, label, type_, type_name) in enumerate(fields, start=1):
            added.field.add(name=field, number=number, label=label, type=type_, type_name=type_name)
        return added

    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    top = proto.message_type
    message(top, "BytesList", ("value", many, kind.TYPE_BYTES, None))
    message(top, "FloatList", ("value", many, kind.TYPE_FLOAT, None))
    message(top, "Int64List", ("value", many, kind.TYPE_INT64, None))
    message(
        top,
        "Feature",
        ("bytes_list", one, kind.TYPE_MESSAGE, ".t.BytesList"),
        ("float_list", one, kind.TYPE_MESSAGE, ".t.FloatList"),
        ("int64_list", one, kind.TYPE_MESSAGE, ".t.Int64List"),
    )
    features = message(
        top, "Features", ("feature", many, kind.TYPE_MESSAGE, ".t.Features.FeatureEntry")
    )
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", one, kind.TYPE_STRING, None),
        ("value", one, kind.TYPE_MESSAGE, ".t.Feature"),
    )
    entry.options.map_entry = True
    message(top, "Example", ("features", one, kind.TYPE_MESSAGE, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "is empty"),
        ("notext.jsonl", '{"body": "x", "n": 1}\n', "it has 'body', 'n'"),
        ("broken.jsonl", '{"text": "x"}\n{"text": \n', "line 2 is not JSON"),
        ("list.jsonl", '{"text": "x"}\n3\n', "line 2 is not a JSON object"),
        ("number.jsonl", '{"text": "x"}\n{"text": 3}\n', "line 2: 'text' is int, not text"),
        ("a.doc", "text\nx\n", "no known corpus format"),
        ("a.parquet", "not parquet", "cannot be read as Parquet"),
        ("a.jsonl.gz", "not gzip", "cannot be read"),
    ],
)
def test_a_bad_corpus_is_one_clear_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as refusal:
        list(files.Corpus(tmp_path / name))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_corpus_names_the_nearest(tmp_path):
    (tmp_path / "stories.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(UserError, match=r"stories\.jsonl"):
        files.Corpus(tmp_path / "storys.jsonl")
    (tmp_path / "d").mkdir()
    with pytest.raises(UserError, match="no documents"):
        files.Corpus(tmp_path / "d")


def test_an_error_leaves_the_old_file(tmp_path):
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), files.atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"score": float("nan")})
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        files.output_dir(tmp_path / "a")


def test_a_file_where_a_directory_should_be(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(UserError, match="a' is a file, not a directory"):
        files.output_dir(tmp_path / "a")


def test_a_kill_leaves_whole_files(tmp_path):
    """Twenty writers of a 4 MB file are killed at different moments."""
    code = (
        "import sys; from synthdiv import files\n"
        "i = 0\n"
        "while True:\n"
        "    files.write_text(sys.argv[1], str(i % 10) * 4_000_000); i += 1\n"
    )
    path = tmp_path / "a"
    for attempt in range(20):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.003 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        text = path.read_text()
        assert len(text) == 4_000_000 and len(set(text)) == 1
        path.unlink()


def test_a_writer_goes_on_after_the_shards_that_are_there(tmp_path):
    files.CorpusWriter(tmp_path).write(ROWS[:2])
    writer = files.CorpusWriter(tmp_path)
    assert files.read_manifest(tmp_path) is None
    writer.write(ROWS[2:])
    writer.close({})
    assert [d.text for d in files.Corpus(tmp_path)] == TEXTS
    assert len(files.read_manifest(tmp_path)["shards"]) == 2
