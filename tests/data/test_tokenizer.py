"""Tokenizers: lossless, deterministic, known by their hash, and not to be fooled by their text."""

import json
from pathlib import Path

import numpy as np
import pytest

from synthdiv.data import Tokenizer, load_tokenizer, train_tokenizer
from synthdiv.data.tokenizer_export import for_transformers
from synthdiv.errors import UserError
from synthdiv.files import Corpus
from tests.evaluation.small import write_beginning

TEXT = "A model reads 東京;\n\n\tdef f(x):\n        return x  # naïve 😀\n trailing  "


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Tokenizer:
    pytest.importorskip("sentencepiece")
    return train_tokenizer([corpus], tmp_path_factory.mktemp("unigram"), 320, "sentencepiece")


@pytest.fixture(params=["bpe", "sentencepiece"])
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue("tokenizer" if request.param == "bpe" else "sentencepiece")


def test_lossless(trained: Tokenizer) -> None:
    for text in (TEXT, "", " ", "\n\n\n", "<|endoftext|>", "</s>"):
        ids = trained.encode_batch([text])[0]
        assert trained.decode(ids) == text
        assert trained.eot_id not in ids
        assert max(ids, default=0) < trained.vocab_size


def test_flat_is_batch(trained: Tokenizer) -> None:
    texts = ["one two", "", TEXT]
    flat, lengths = trained.encode_flat(texts)
    ids = trained.encode_batch(texts)
    assert lengths.tolist() == [len(i) for i in ids]
    assert flat.tolist() == sum(ids, [])


def test_saved_and_loaded(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "x" / "tokenizer")
    for where in (tmp_path / "x" / "tokenizer", tmp_path / "x"):
        again = load_tokenizer(where)
        assert again.sha256 == trained.sha256
        assert again.eot_id == trained.eot_id
        assert again.vocab_size == trained.vocab_size
        assert again.encode_batch([TEXT]) == trained.encode_batch([TEXT])
    trained.decode([trained.eot_id, *trained.encode_batch(["ab"])[0], trained.eot_id])


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
def test_training_is_deterministic(kind: str, corpus: Corpus, tmp_path: Path) -> None:
    if kind == "sentencepiece":
        pytest.importorskip("sentencepiece")
    first = train_tokenizer([corpus], tmp_path / "a", 320, kind)
    second = train_tokenizer([corpus], tmp_path / "b", 320, kind)
    assert first.encode_batch([TEXT]) == second.encode_batch([TEXT])
    assert first.sha256 == second.sha256


def test_training_twice_trains_once(corpus: Corpus, tmp_path: Path) -> None:
    first = train_tokenizer([corpus], tmp_path, 300)
    before = (tmp_path / "tokenizer.json").stat().st_mtime_ns
    assert train_tokenizer([corpus], tmp_path, 300).sha256 == first.sha256
    assert (tmp_path / "tokenizer.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other corpora or settings"):
        train_tokenizer([corpus], tmp_path, 310)


def test_max_bytes_bounds_what_is_read(corpus: Corpus, tmp_path: Path) -> None:
    a = train_tokenizer([corpus], tmp_path / "a", 300, max_bytes=500)
    b = train_tokenizer([corpus], tmp_path / "b", 300)
    assert a.sha256 != b.sha256


def test_refusals(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="known: bpe, sentencepiece"):
        train_tokenizer([corpus], tmp_path, 300, "wordpiece")
    with pytest.raises(UserError, match="256 bytes"):
        train_tokenizer([corpus], tmp_path, 100)
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(tmp_path / "absent.json")
    with pytest.raises(UserError, match=r"no tokenizer\.json or tokenizer\.model"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"is not a tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "x.model").write_bytes(b"nonsense")
    pytest.importorskip("sentencepiece")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        load_tokenizer(tmp_path / "x.model")


def test_end_of_text_is_found_or_asked_for(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    text = json.dumps(described).replace("<|endoftext|>", "<|stop|>")
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match="no end-of-text token"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|stop|>"}}')
    assert load_tokenizer(tmp_path).eot_id == tokenizer.eot_id


def test_the_papers_tokenizer(shared_data: Path) -> None:
    tokenizer = load_tokenizer(shared_data / "tokenizers" / "codegen_mono_tokenizer.json")
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (50_295, 50_256)
    ids = tokenizer.encode_batch(["def f():\n        pass<|endoftext|>"])[0]
    assert tokenizer.eot_id not in ids
    assert tokenizer.decode(ids) == "def f():\n        pass<|endoftext|>"
    assert np.array_equal(tokenizer.encode_batch(["Hello world"])[0], [15496, 995])


def test_a_token_that_the_file_puts_before_texts_is_known_and_not_saved(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "plain")
    begins = write_beginning(tmp_path / "plain", tmp_path / "begins")
    loaded = load_tokenizer(tmp_path / "begins")
    assert loaded.begins == (begins,) and loaded.bos_id == begins
    assert loaded.encode_batch([TEXT]) == tokenizer.encode_batch([TEXT])
    again = load_tokenizer(loaded.save(tmp_path / "again"))
    assert again.begins == () and again.bos_id == again.eot_id == tokenizer.eot_id
    assert again.sha256 == loaded.sha256
    assert (tokenizer.begins, tokenizer.bos_id) == ((), tokenizer.eot_id)


@pytest.mark.parametrize("transformed", [False, True])
def test_transformers_reads_what_we_read_of_sentencepiece(
    sentencepiece: Tokenizer, tmp_path: Path, transformed: bool
) -> None:
    directory, output = sentencepiece.save(tmp_path / "ours"), tmp_path / "theirs"
    output.mkdir()
    assert for_transformers(directory, output) == output
    read = load_tokenizer(output)  # the tokenizer.json
    if transformed:
        transformers = pytest.importorskip("transformers")
        theirs = transformers.AutoTokenizer.from_pretrained(output)
        assert theirs.bos_token_id == theirs.eos_token_id == sentencepiece.eot_id
    for text in (TEXT, "", " ", "\n\n", "A model", " reads"):
        tokens = sentencepiece.encode_batch([text])[0]
        assert (theirs.encode(text) if transformed else read.encode_batch([text])[0]) == tokens
        assert (theirs if transformed else read).decode(tokens) == text


def test_a_tokenizer_json_is_copied_as_it_is(tokenizer: Tokenizer, tmp_path: Path) -> None:
    directory = tokenizer.save(tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    for_transformers(directory, tmp_path / "theirs")
    assert {p.name: p.read_bytes() for p in (tmp_path / "theirs").iterdir()} == {
        p.name: p.read_bytes() for p in directory.iterdir()
    }
