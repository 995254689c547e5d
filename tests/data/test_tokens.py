"""Tokens on disk: the same for any number of workers, any interruption, any kind of corpus."""

import io
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synthdiv import json_lines
from synthdiv.data import (
    TokenizeConfig,
    Tokenizer,
    TokenizerConfig,
    estimate_tokens,
    load_tokenizer,
    tokenize_corpora,
    tokenize_corpus,
    train_tokenizer,
)
from synthdiv.data.token_source import TokenSource
from synthdiv.data.workers import encode_chunk
from synthdiv.errors import UserError
from synthdiv.files import Corpus, read_manifest

from .conftest import random_text, write_corpus


def documents_of(directory: Path) -> list[list[int]]:
    """Token ids of each document, as the model would predict them, end-of-text left out."""
    source = TokenSource(directory)
    sequences = source.read(np.arange(len(source)))
    found: list[list[int]] = []
    for row in range(len(sequences)):
        for at in range(int(sequences.targets[row])):
            if sequences.starts[row, at]:
                found.append([])
            found[-1].append(int(sequences.tokens[row, at + 1]))
    assert all(d[-1] == source.manifest["eot_id"] for d in found)
    return [d[:-1] for d in found]


def contents(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(directory.glob("tokens-*"))}


def test_nothing_is_lost_over_shards(
    corpus: Corpus, texts: list[str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    manifest = tokenize_corpus(corpus, tmp_path, tokenizer, 32, shard_bytes=20_000)
    assert len(manifest["shards"]) > 3
    assert documents_of(tmp_path) == tokenizer.encode_batch(texts)
    assert manifest["documents"] == len(texts)
    assert manifest["bytes"] == sum(len(t.encode()) for t in texts)
    assert manifest["tokens"] == sum(len(i) + 1 for i in tokenizer.encode_batch(texts))
    assert manifest["corpus_sha256"] == corpus.sha256
    assert manifest["tokenizer_sha256"] == load_tokenizer(tmp_path).sha256
    # One padded sequence a shard at most.
    full = manifest["tokens"] / 32
    assert full <= manifest["sequences"] < full + len(manifest["shards"])


def test_workers_change_nothing(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name, workers in (("none", 0), ("auto", None), ("two", 2), ("three", 3)):
        tokenize_corpus(corpus, tmp_path / name, tokenizer, 32, 30_000, workers)
        assert contents(tmp_path / name) == contents(tmp_path / "none"), name
        assert read_manifest(tmp_path / name) == read_manifest(tmp_path / "none"), name
    assert not multiprocessing.active_children()


def test_documents_of_every_kind(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = ["plain", "", None, "ends <|endoftext|> not", "lone \ud800 surrogate", " ", "\x00"]
    corpus = write_corpus(tmp_path / "odd.jsonl", texts)
    manifest = tokenize_corpus(corpus, tmp_path / "out", tokenizer, 8)
    assert (manifest["documents"], manifest["empty_documents"]) == (5, 2)
    found = [tokenizer.decode(ids) for ids in documents_of(tmp_path / "out")]
    assert found == ["plain", texts[3], "lone \ufffd\ufffd\ufffd surrogate", " ", "\x00"]


def test_a_long_document_is_tokenized_in_pieces_to_the_same_tokens(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(3)
    texts = [random_text(draw, 400), "short", "x" * 900, random_text(draw, 700)]
    expected = tokenizer.encode_batch(texts)
    monkeypatch.setattr("synthdiv.data.workers._PIECE_CHARS", 100)
    tokens, lengths, sizes = encode_chunk(tokenizer, [t.encode() for t in texts])
    assert lengths.tolist() == [len(i) for i in expected]
    assert tokens.tolist() == sum(expected, [])
    assert sizes.tolist() == [len(t.encode()) for t in texts]


def test_finished_tokens_are_not_made_again(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    first = tokenize_corpus(corpus, tmp_path, tokenizer, 32)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert tokenize_corpus(corpus, tmp_path, tokenizer, 32) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_other_settings_are_refused(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32)
    with pytest.raises(UserError, match="sequence_length was 32 and is now 64"):
        tokenize_corpus(corpus, tmp_path / "out", tokenizer, 64)
    other = write_corpus(tmp_path / "other.jsonl", ["other text"])
    with pytest.raises(UserError, match="corpus was"):
        tokenize_corpus(other, tmp_path / "out", tokenizer, 32)
    with pytest.raises(UserError, match="too short"):
        tokenize_corpus(corpus, tmp_path / "new", tokenizer, 1)
    nothing = write_corpus(tmp_path / "nothing.jsonl", ["", None])
    with pytest.raises(UserError, match="no document with any text"):
        tokenize_corpus(nothing, tmp_path / "new", tokenizer, 32)
    assert not (tmp_path / "new").exists()


def test_a_file_changed_far_inside_is_another_corpus(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Of the same name, size and beginning: old tokens are not handed out for it."""
    path = tmp_path / "large.jsonl"
    corpus = write_corpus(path, ["a text of some words " * 20] * 300)
    train_tokenizer([corpus], tmp_path / "trained", 300)
    tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32)
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    content = bytearray(path.read_bytes())
    place = content.index(b"words", len(content) // 2)
    assert place > 1 << 16
    content[place : place + 5] = b"WORDS"
    path.write_bytes(content)
    changed = Corpus(path)
    assert changed.fingerprint == corpus.fingerprint, "what an earlier version looked at"
    with pytest.raises(UserError, match="corpus_bytes was"):
        tokenize_corpus(changed, tmp_path / "out", tokenizer, 32)
    with pytest.raises(UserError, match="other corpora or settings"):
        train_tokenizer([changed], tmp_path / "trained", 300)
    del plan["corpus_bytes"]  # as an earlier version wrote it: its tokens stay of use
    (tmp_path / "out" / "plan.json").write_text(json.dumps(plan))
    assert tokenize_corpus(changed, tmp_path / "out", tokenizer, 32)["documents"] == 300


def test_a_corpus_broken_after_some_shards_leaves_nothing(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", ["word " * 20 for _ in range(50)])
    with corpus.path.open("a") as file:
        file.write('{"text": "cut off')
    with pytest.raises(UserError, match="line 51 is not JSON"):
        tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32, shard_bytes=500)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fails_costs_no_finished_shard(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", ["word " * 20 for _ in range(50)])
    whole = tokenize_corpus(corpus, tmp_path / "whole", tokenizer, 32, shard_bytes=500)

    class Failing(io.BytesIO):
        left = 40

        def __next__(self) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise OSError(5, "Input/output error")
            return super().__next__()

    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "open_bytes", lambda path: Failing(path.read_bytes()))
        with pytest.raises(UserError, match="Input/output error"):
            tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32, shard_bytes=500)
    assert list((tmp_path / "out").glob("tokens-*.array_record"))
    assert tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32, shard_bytes=500) == whole


def test_a_corpus_that_lost_documents_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Same names, sizes and beginnings, which was all of a plan once; fewer documents."""
    texts = ["x" * 70_000, *["word " * 20 for _ in range(50)]]
    corpus = write_corpus(tmp_path / "c.jsonl", texts)
    tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32, shard_bytes=72_000)
    (tmp_path / "out" / "manifest.json").unlink()
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    del plan["corpus_bytes"]
    (tmp_path / "out" / "plan.json").write_text(json.dumps(plan))
    size = corpus.path.stat().st_size
    shorter = write_corpus(tmp_path / "c.jsonl", texts[:1])
    with shorter.path.open("a") as file:
        file.write("\n" * (size - shorter.path.stat().st_size))
    with pytest.raises(UserError, match="become shorter"):
        tokenize_corpus(shorter, tmp_path / "out", tokenizer, 32, shard_bytes=72_000)


def test_the_estimate_is_near(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    config = TokenizeConfig(sequence_length=32)
    chosen = TokenizerConfig(str(tmp_path / "tokenizer"))
    [estimate] = estimate_tokens([corpus], chosen, config)
    [manifest] = tokenize_corpora([corpus], tmp_path / "out", chosen, config)
    for key in ("documents", "bytes"):
        assert estimate[key] == manifest[key]
    for key in ("tokens", "sequences"):
        assert estimate[key] == pytest.approx(manifest[key], rel=0.02)
    shard = (tmp_path / "out" / "tokens-00000.array_record").stat().st_size
    assert estimate["disk_bytes"] == pytest.approx(shard, rel=0.25)
    assert estimate["seconds"] > 0


def test_several_corpora_share_a_tokenizer(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = write_corpus(tmp_path / "other.jsonl", ["another corpus"] * 30)
    settings = TokenizeConfig(sequence_length=16)
    train = TokenizerConfig(vocab_size=280)
    found = tokenize_corpora([corpus, other], tmp_path / "out", train, settings)
    assert [m["corpus_name"] for m in found] == ["words", "other"]
    hashes = {load_tokenizer(tmp_path / "out" / n).sha256 for n in ("words", "other", "tokenizer")}
    assert hashes == {found[0]["tokenizer_sha256"]}
    assert tokenize_corpora([corpus, other], tmp_path / "out", train, settings) == found
    twin = write_corpus(tmp_path / "words.jsonl", ["of the same name"])
    with pytest.raises(UserError, match="two corpora are called 'words'"):
        tokenize_corpora([corpus, twin], tmp_path / "new", train, settings)


def test_reading_refuses_what_is_not_complete(
    corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no tokens"):
        TokenSource(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no tokens"):
        TokenSource(tmp_path)
    tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32)
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(UserError, match="not complete"):
        TokenSource(tmp_path / "out")
    tokenize_corpus(corpus, tmp_path / "out", tokenizer, 32)
    (tmp_path / "out" / "tokens-00000.array_record").unlink()
    with pytest.raises(UserError, match="lack tokens-00000"):
        TokenSource(tmp_path / "out").read(np.array([0]))


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_moment_it_goes_on(
    tokenizer: Tokenizer, tmp_path: Path, workers: int
) -> None:
    draw = random.Random(0)
    texts = [random_text(draw, 60) for _ in range(4000)]
    corpus = write_corpus(tmp_path / "words.jsonl", texts)
    tokenizer.save(tmp_path / "tokenizer")
    tokenize_corpus(corpus, tmp_path / "whole", tokenizer, 64, 30_000, 0)
    out = tmp_path / "out"
    program = (
        "from pathlib import Path\n"
        "from synthdiv.data import load_tokenizer, tokenize_corpus\n"
        "from synthdiv.files import Corpus\n"
        "if __name__ == '__main__':\n"
        f"    tokenize_corpus(Corpus({str(corpus.path)!r}), {str(out)!r},\n"
        f"        load_tokenizer({str(tmp_path / 'tokenizer')!r}), 64, 30_000, {workers})\n"
    )
    script = tmp_path / "tokenize_it.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    kept: dict[Path, int] = {}
    for shards in (1, 4):
        process = subprocess.Popen(
            [sys.executable, str(script)], env=environment, start_new_session=True
        )
        while not (out / f"tokens-{shards:05d}.json").exists() and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _wait_for_group(process.pid)
        assert read_manifest(out) is None, "it was done before it could be killed"
        now = {p: p.stat().st_mtime_ns for p in out.glob("tokens-*.json")}
        assert len(now) > shards and kept.items() <= now.items()
        kept = now
    subprocess.run([sys.executable, str(script)], env=environment, check=True)
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in out.glob("tokens-*.json")}.items()
    assert contents(out) == contents(tmp_path / "whole")
    assert read_manifest(out) == read_manifest(tmp_path / "whole")
    assert not list(out.glob(".*.tmp"))


def _wait_for_group(group: int) -> None:
    """Workers must not outlive the process that was killed."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("workers are still alive five seconds after their parent")


def test_real_text_with_the_papers_tokenizer(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(shared_data / "tokenizers" / "codegen_mono_tokenizer.json")
    corpus = Corpus(shared_data / "text" / "c4_sample_300.jsonl.gz")
    tokenize_corpus(corpus, tmp_path, tokenizer, 256)
    found = [tokenizer.decode(ids) for ids in documents_of(tmp_path)]
    assert found == [d.text for d in corpus]
