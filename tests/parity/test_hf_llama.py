"""Our Llama is Hugging Face's: logits, loss, every gradient, both ways, within 1e-4 in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from synthdiv.model import cross_entropy, hf, load_model, save_hf
from synthdiv.model.hf_config import config_to_hf
from synthdiv.model.weights import graph
from tests.model.quick import quick

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "vocab_size": 101,
    "max_position_embeddings": 96,
    "rope_theta": 5000.0,
    "initializer_range": 0.15,  # far from uniform logits, so that an error shows
    "tie_word_embeddings": False,
    "attn_implementation": "eager",
}
VARIANTS = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "grouped": {"num_key_value_heads": 2},
    "one key head, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "wide heads": {"head_dim": 12, "num_key_value_heads": 3},
    "linear RoPE": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama3 RoPE": {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "yarn RoPE": {
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 24,
        }
    },
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def theirs(request):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**(SIZES | request.param))
    return transformers.LlamaForCausalLM(config).float().eval()


def _tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 64))


def _their_loss(model, tokens):
    """Mean next-token loss and logits."""
    logits = model(torch.tensor(tokens)).logits
    flat = logits[:, :-1].reshape(-1, logits.shape[-1])
    return torch.nn.functional.cross_entropy(flat, torch.tensor(tokens[:, 1:]).reshape(-1)), logits


def test_logits_loss_and_every_gradient(tmp_path, theirs) -> None:
    theirs.save_pretrained(tmp_path)
    ours, config, _ = load_model(tmp_path)
    params = nnx.to_pure_dict(nnx.split(ours)[1])
    tokens = _tokens()
    their_loss, their_logits = _their_loss(theirs, tokens)
    their_loss.backward()
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}

    np.testing.assert_allclose(ours(jnp.asarray(tokens)), their_logits.detach().numpy(), atol=1e-4)

    def loss(params):
        model = nnx.merge(graph(config), params)
        x_BTD = model.hidden(jnp.asarray(tokens))
        weights = np.full(tokens.shape, 1 / (tokens.size - len(tokens)), np.float32)
        weights[:, -1] = 0
        return cross_entropy(
            x_BTD, model.head_table(), jnp.asarray(np.roll(tokens, -1, 1)), jnp.asarray(weights)
        )[0]

    our_loss, our_gradients = quick(jax.value_and_grad(loss))(params)
    assert abs(float(our_loss) - their_loss.item()) < 1e-5
    compared = 0
    for name, gradient in hf.params_to_hf(our_gradients, config):
        np.testing.assert_allclose(gradient, gradients[name], atol=1e-4, err_msg=name)
        size = np.linalg.norm(gradients[name])
        assert np.linalg.norm(gradient - gradients[name]) < 1e-4 * size, name
        compared += 1
    assert compared == len(gradients)


def test_round_trip_is_exact(tmp_path, theirs) -> None:
    theirs.save_pretrained(tmp_path / "theirs")
    ours, config, _ = load_model(tmp_path / "theirs")
    save_hf(ours, config, None, tmp_path / "ours")
    again = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager"
    ).eval()
    before, after = theirs.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    tokens = torch.tensor(_tokens())
    assert torch.equal(theirs(tokens).logits, again(tokens).logits)


def test_packed_documents_match_separate_ones(tmp_path) -> None:
    """Segment ids and restarting positions give what Hugging Face gives for each alone."""
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).float().eval()
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).model
    tokens = _tokens()[:1]
    lengths = [5, 30, 1, 28]
    segments = np.repeat(np.arange(1, 5), lengths)[None]
    positions = np.concatenate([np.arange(n) for n in lengths])[None]
    packed = quick(ours.__call__)(tokens, segments, positions)
    start = 0
    for n in lengths:
        alone = theirs(torch.tensor(tokens[:, start : start + n])).logits.detach().numpy()
        np.testing.assert_allclose(packed[:, start : start + n], alone, atol=1e-4)
        start += n


def test_config_survives_the_trip() -> None:
    config = dataclasses.replace(
        hf.ModelConfig(), kv_heads=5, rope_theta=5e5, norm_eps=1e-6, tie_embeddings=False
    )
    theirs = transformers.LlamaConfig(**config_to_hf(config))
    assert theirs.num_key_value_heads == 5 and theirs.rms_norm_eps == 1e-6
    assert theirs.rope_parameters["rope_theta"] == 5e5
