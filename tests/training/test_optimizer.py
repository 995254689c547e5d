"""Learning rates by hand, AdamW against PyTorch's, Muon by what defines it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.errors import UserError
from synthdiv.training import OptimizerConfig, SFTOptimizerConfig
from synthdiv.training.optimizer import learning_rate, make_optimizer


def _rates(steps: int, **settings) -> list[float]:
    config = OptimizerConfig(learning_rate=1.0, **settings)
    return [float(learning_rate(config, np.int32(i), np.int32(steps))) for i in range(steps + 1)]


def test_linear_rises_then_falls_to_its_end() -> None:
    rates = _rates(10, warmup=0.2, final=0.1)
    expected = [0.5, 1.0, *(1 - 0.9 * i / 8 for i in range(9))]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_cosine_is_halfway_down_in_the_middle() -> None:
    rates = _rates(12, warmup=1 / 6, schedule="cosine")
    np.testing.assert_allclose(rates[:2], [0.5, 1.0])
    np.testing.assert_allclose(rates[7], 0.5, atol=1e-6)
    np.testing.assert_allclose(rates[12], 0.0, atol=1e-6)


def test_wsd_is_level_until_it_decays() -> None:
    rates = _rates(20, warmup=0.1, schedule="wsd", decay=0.25)
    np.testing.assert_allclose(rates[:16], [0.5] + [1.0] * 15)
    np.testing.assert_allclose(rates[15:], [1.0, 0.8, 0.6, 0.4, 0.2, 0.0], atol=1e-6)


def test_constant_and_no_warmup() -> None:
    assert _rates(4, warmup=0.0, schedule="constant") == [1.0] * 5


def test_the_papers_settings_are_the_defaults() -> None:
    pretrain, sft = OptimizerConfig(), SFTOptimizerConfig()
    assert (pretrain.beta1, pretrain.beta2) == (0.9, 0.95)
    assert (pretrain.learning_rate, pretrain.weight_decay) == (3e-4, 0.1)
    assert (sft.learning_rate, sft.weight_decay) == (2e-5, 0.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"name": "sgd"}, "not one of adamw, muon"),
        ({"warmup": 100}, "Optimizer.warmup is a share"),
    ],
)
def test_unknown_settings_are_refused(settings, words) -> None:
    with pytest.raises(UserError, match=words):
        OptimizerConfig(**settings)


def _params() -> dict:
    draw = np.random.default_rng(0)
    return {
        "embedding": draw.normal(size=(6, 4)).astype(np.float32),
        "layers": {
            "query": draw.normal(size=(2, 4, 2, 2)).astype(np.float32),
            "mlp_norm": np.ones((2, 4), np.float32),
        },
    }


def test_adamw_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    config = OptimizerConfig(learning_rate=1e-2, clip_norm=1.0, warmup=0.3)
    ours = _params()
    optimizer = make_optimizer(config)
    state = optimizer.init(ours)
    theirs = jax.tree.map(lambda a: torch.nn.Parameter(torch.tensor(a)), ours)
    decayed = [theirs["embedding"], theirs["layers"]["query"]]
    kept = [theirs["layers"]["mlp_norm"]]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": kept, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    draw = np.random.default_rng(1)
    for step in range(7):
        gradient = jax.tree.map(lambda a: 3 * draw.normal(size=a.shape).astype(np.float32), ours)
        rate = learning_rate(config, np.int32(step), np.int32(10))
        updates, state = optimizer.update(gradient, state, ours)
        ours = jax.tree.map(lambda p, u, rate=rate: p + rate * u, ours, updates)
        for parameter, g in zip(jax.tree.leaves(theirs), jax.tree.leaves(gradient), strict=True):
            parameter.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_(jax.tree.leaves(theirs), 1.0)
        for group in adam.param_groups:
            group["lr"] = float(rate)
        adam.step()
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=2e-6)


def test_muon_turns_each_layers_matrix_and_no_embedding() -> None:
    config = OptimizerConfig(name="muon", weight_decay=0.0, clip_norm=0.0)
    params = _params()
    optimizer = make_optimizer(config)
    draw = np.random.default_rng(1)
    gradient = jax.tree.map(lambda a: draw.normal(size=a.shape).astype(np.float32), params)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    for layer in range(2):
        # A step of Muon is near a multiple of an orthogonal matrix: its singular values are close.
        matrix = np.asarray(updates["layers"]["query"][layer]).reshape(4, 4)
        values = np.linalg.svd(matrix, compute_uv=False)
        assert values.max() / values.min() < 2.0
        assert np.trace(matrix.T @ gradient["layers"]["query"][layer].reshape(4, 4)) < 0


def test_muons_other_parameters_are_plain_adamws_with_decay() -> None:
    """Over several steps, as Nesterov's momentum differs from the first on."""
    config = OptimizerConfig(name="muon", weight_decay=0.1, clip_norm=0.0)
    ours, plain = make_optimizer(config), make_optimizer(OptimizerConfig(clip_norm=0.0))
    params = _params()
    states = [ours.init(params), plain.init(params)]
    draw = np.random.default_rng(1)
    for _ in range(3):
        gradient = jax.tree.map(lambda a: draw.normal(size=a.shape).astype(np.float32), params)
        updates, states[0] = ours.update(gradient, states[0], params)
        alone, states[1] = plain.update(gradient, states[1], params)
        np.testing.assert_allclose(updates["embedding"], alone["embedding"], rtol=1e-6)
        norms = (updates["layers"]["mlp_norm"], alone["layers"]["mlp_norm"])
        np.testing.assert_allclose(*norms, rtol=1e-6)
    assert not np.allclose(updates["layers"]["query"], alone["layers"]["query"])


def test_a_rate_of_another_length_needs_no_other_program() -> None:
    config = OptimizerConfig()
    rate = jax.jit(lambda step, steps: learning_rate(config, step, steps))
    for steps in (10, 1000):
        rate(jnp.int32(3), jnp.int32(steps))
    assert rate._cache_size() == 1
