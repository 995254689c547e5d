"""Perplexity: against the definition, and one model read in two ways gives one figure."""

import json
import math
import pydoc_data.topics

import numpy as np
import pytest

from synthdiv.baselines import BaselineConfig, compute_baselines
from synthdiv.baselines import perplexity as room
from synthdiv.baselines.perplexity import perplexity, perplexity_metrics
from synthdiv.errors import UserError
from synthdiv.files import Corpus

TEXTS = [*sorted(pydoc_data.topics.topics.values())[:6], "", "short", "caf\u00e9 \u4e16\u754c"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A small random Llama with a tokenizer, as a Hugging Face directory."""
    pytest.importorskip("jax")
    pytest.importorskip("flax")
    from flax import nnx

    from synthdiv.data import train_tokenizer
    from synthdiv.model import Llama, ModelConfig, save_hf

    root = tmp_path_factory.mktemp("llama")
    pages = root / "pages.jsonl"
    pages.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:6]))
    train_tokenizer([Corpus(pages)], root / "tokenizer", 512)
    config = ModelConfig(
        vocab_size=512,
        hidden=32,
        mlp=64,
        layers=2,
        heads=2,
        kv_heads=2,
        max_length=96,
        init_std=0.2,
        dtype="float32",
    )
    return save_hf(Llama(config, nnx.Rngs(0)), config, root / "tokenizer", root / "model")


def test_our_reader_and_transformers_give_one_perplexity(llama):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    theirs = perplexity(TEXTS, str(llama))
    ours = room._Checkpoint(llama)
    nats = tokens = 0
    for batch, lengths in room._windows(ours, TEXTS):
        for row, length in zip(ours.losses(batch), lengths, strict=True):
            nats += float(row[:length].sum())
            tokens += length
    assert tokens == theirs.tokens
    assert nats / tokens == pytest.approx(theirs.nats / theirs.tokens, rel=1e-4)


def test_perplexity_is_the_exponential_of_the_mean_loss_of_every_token(llama):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(llama)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    start = tokenizer.bos_token_id
    start = tokenizer.eos_token_id if start is None else start
    nats, count = 0.0, 0
    for text in TEXTS:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        for place in range(0, len(tokens), 95):
            window = torch.tensor([[start, *tokens[place : place + 95]]])
            with torch.no_grad():
                logits = model(window).logits[0, :-1]
            losses = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum")
            nats += float(losses)
            count += window.shape[1] - 1
    found = perplexity(TEXTS, str(llama))
    assert found.tokens == count
    assert found.perplexity == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert found.bits_per_byte == pytest.approx(
        nats / math.log(2) / sum(len(text.encode()) for text in TEXTS), rel=1e-4
    )


def test_baselines_report_perplexity_and_the_gap_where_models_are_named(llama):
    pytest.importorskip("torch")
    config = BaselineConfig(
        metrics=("context_length",),
        perplexity_models=(str(llama), str(llama)),
        perplexity_documents=4,
    )
    found = compute_baselines(TEXTS, config)
    assert found["perplexity_documents"] == 4
    assert found["perplexity"] > 1
    assert found["perplexity_gap"] == 0


def test_windows_hold_every_token_once_and_pad_at_the_end():
    class Scorer:
        context, start = 33, 7

        def encode(self, texts):
            return [list(range(100, 100 + len(text))) for text in texts]

    texts = ["x" * n for n in (0, 1, 31, 32, 33, 100)]
    scored = []
    for batch, lengths in room._windows(Scorer(), texts):
        assert batch.shape[1] <= Scorer.context
        assert (batch[:, 0] == 7).all()
        for row, length in zip(batch, lengths, strict=True):
            scored += row[1 : length + 1].tolist()
            assert (row[length + 1 :] == 7).all()
    expected = [token for text in texts for token in range(100, 100 + len(text))]
    assert sorted(scored) == sorted(expected)


def test_no_text_no_perplexity(llama):
    pytest.importorskip("torch")
    found = perplexity_metrics(["", ""], [str(llama)])
    assert found["perplexity"] == 0 and "perplexity_gap" not in found
    assert np.isfinite(list(found.values())).all()


def test_a_model_that_is_not_there_is_the_users_mistake(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    with pytest.raises(UserError, match="cannot load the language model"):
        perplexity(["text"], str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="one model, or two"):
        BaselineConfig(perplexity_models=("a", "b", "c"))


def test_a_directory_without_a_checkpoint_is_the_users_mistake(tmp_path):
    pytest.importorskip("jax")
    with pytest.raises(UserError):
        perplexity(["text"], str(tmp_path))
