"""Bits per byte against its definition, and its standard error against what the bootstrap says."""

import json
import math

import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.evaluation import TextLossConfig, bits_per_byte
from synthdiv.evaluation.checkpoint import load_checkpoint
from synthdiv.evaluation.harness import SynthdivLM
from synthdiv.evaluation.text_loss import text_loss
from synthdiv.files import Corpus
from tests.evaluation.small import CONFIG, texts


@pytest.fixture(scope="module")
def lm(checkpoint) -> SynthdivLM:
    return SynthdivLM(load_checkpoint(checkpoint))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "pages.jsonl"
    pages = [text[: 200 + 97 * i] for i, text in enumerate(texts()[:30])]
    pages[4] = "naïve façade – ünïcode"  # more bytes than characters
    path.write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    return Corpus(path)


def test_bits_per_byte_is_its_definition(lm, corpus):
    documents = [document.text for document in corpus]
    found = text_loss(lm, corpus, TextLossConfig())
    nats = [-sum(w.sum(dtype=np.float64) for w in ws) for ws in lm.score_texts(documents)]
    sizes = [len(text.encode()) for text in documents]
    assert found["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / sum(sizes), rel=1e-9)
    assert (found["documents"], found["bytes"]) == (30, sum(sizes))
    assert found["tokens"] == sum(len(lm.tok_encode(text)) for text in documents)
    assert found["nats_per_token"] == pytest.approx(sum(nats) / found["tokens"], rel=1e-9)

    random = np.random.default_rng(0)
    draws = random.integers(0, 30, (4000, 30))
    ratios = np.array(nats)[draws].sum(1) / np.array(sizes)[draws].sum(1) / math.log(2)
    assert found["standard_error"] == pytest.approx(ratios.std(), rel=0.15)


def test_loss_by_position_covers_the_context_in_doubling_bands(lm, corpus):
    bands = text_loss(lm, corpus, TextLossConfig())["by_position"]
    assert [band["from"] for band in bands][:5] == [0, 1, 2, 4, 8]
    assert bands[-1]["to"] == CONFIG.max_length
    assert all(a["to"] == b["from"] for a, b in zip(bands, bands[1:], strict=False))
    assert bands[0]["tokens"] == 30  # each document's first token, after end-of-text
    first = [lm.score_texts([document.text])[0][0][0] for document in corpus]
    assert bands[0]["nats_per_token"] == pytest.approx(-np.mean(first), abs=1e-4)


def test_documents_and_bytes_can_be_limited(lm, corpus, checkpoint):
    assert text_loss(lm, corpus, TextLossConfig(max_documents=3))["documents"] == 3
    found = text_loss(lm, corpus, TextLossConfig(max_bytes=450))
    assert found["documents"] == 2  # 200 and 297 bytes
    alone = bits_per_byte(checkpoint, corpus.path, TextLossConfig(max_bytes=450))
    assert alone["bits_per_byte"] == pytest.approx(found["bits_per_byte"], rel=1e-6)


def test_a_corpus_without_text_is_refused(lm, tmp_path):
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(UserError, match="has no text to measure bits per byte on"):
        text_loss(lm, Corpus(tmp_path / "empty.jsonl"), TextLossConfig())


def test_a_lone_document_has_no_standard_error(lm, corpus):
    found = text_loss(lm, corpus, TextLossConfig(max_documents=1))
    assert found["standard_error"] is None
