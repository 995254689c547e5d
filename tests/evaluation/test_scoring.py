"""Scores are those of the training model's forward pass, on one device and on eight."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from synthdiv.evaluation.packing import Continuation
from synthdiv.evaluation.scoring import Model, score
from synthdiv.model import Llama
from tests.evaluation.small import CONFIG


def continuations(count: int = 60, seed: int = 0) -> list[Continuation]:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count // 3):
        context = random.integers(0, CONFIG.vocab_size, int(random.integers(1, 250)))
        for _ in range(3):
            option = random.integers(0, CONFIG.vocab_size, int(random.integers(1, 60)))
            tokens = np.concatenate([context, option]).astype(np.int32)
            made.append(Continuation(tokens[:-1], tokens[len(context) :]))
    return made


@pytest.fixture(scope="module")
def llama() -> Llama:
    return Llama(CONFIG, nnx.Rngs(3))


@pytest.fixture(scope="module")
def forward(llama: Llama):
    """The training model's log probabilities after each of some tokens, (T, V)."""
    compiled = jax.jit(lambda tokens: jax.nn.log_softmax(llama(tokens), axis=-1))

    def read(tokens) -> np.ndarray:
        padded = np.zeros((1, CONFIG.max_length), np.int32)
        padded[0, : len(tokens)] = tokens
        return np.asarray(compiled(padded))[0, : len(tokens)]

    return read


def _scored(llama: Llama, asked: list[Continuation], **settings) -> dict:
    model = Model(nnx.to_pure_dict(nnx.split(llama)[1]), CONFIG, 2048)
    return {i: s for batch in score(model, asked, **settings) for i, s in batch}


def test_scores_are_those_of_the_plain_forward_pass(llama, forward):
    asked = continuations()
    scored = _scored(llama, asked)
    assert sorted(scored) == list(range(len(asked)))
    for i, (inputs, targets) in enumerate((c.inputs, c.targets) for c in asked):
        log_p = forward(inputs)[len(inputs) - len(targets) :]
        expected = log_p[np.arange(len(targets)), targets]
        np.testing.assert_allclose(scored[i].log_probabilities, expected, atol=2e-5)
        assert scored[i].greedy == bool((log_p.argmax(-1) == targets).all())


def test_greedy_is_true_where_each_token_is_the_likeliest(llama, forward):
    context = np.arange(5, dtype=np.int32)
    tokens = list(context)
    for _ in range(4):
        tokens.append(int(forward(tokens)[-1].argmax()))
    sequence = np.asarray(tokens, np.int32)
    other = sequence.copy()
    other[-1] = (other[-1] + 1) % CONFIG.vocab_size
    scored = _scored(llama, [Continuation(s[:-1], s[5:]) for s in (sequence, other)])
    assert scored[0].greedy and not scored[1].greedy


def test_what_is_done_is_not_run_and_the_rest_is_bit_for_bit_the_same(llama):
    asked = continuations(90)
    whole = _scored(llama, asked)
    batches = []
    model = Model(nnx.to_pure_dict(nnx.split(llama)[1]), CONFIG, 2048)
    for batch in score(model, asked):
        batches.append([i for i, _ in batch])
    assert len(batches) > 2
    answered = set(batches[0]) | set(batches[1][:1])  # one whole batch and a part of another
    rest = _scored(llama, asked, done=answered.__contains__)
    assert set(rest) == set(whole) - set(batches[0])
    for i, found in rest.items():
        assert found.log_probabilities.tobytes() == whole[i].log_probabilities.tobytes()


_SHARDED = """
import json, sys
import jax, numpy as np
from flax import nnx
from synthdiv.evaluation.scoring import Model, score
from synthdiv.model import Llama
from tests.evaluation.small import CONFIG
from tests.evaluation.test_scoring import continuations
model = Model(nnx.to_pure_dict(nnx.split(Llama(CONFIG, nnx.Rngs(3)))[1]), CONFIG, 2048)
found = {i: s for batch in score(model, continuations(15)) for i, s in batch}
scores = [found[i].log_probabilities.tolist() for i in range(15)]
json.dump([jax.device_count(), scores], sys.stdout)
"""


def test_eight_devices_give_the_scores_of_one(llama):
    whole = _scored(llama, continuations(15))
    environment = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        "JAX_PLATFORMS": "cpu",
        "PATH": "",
        "PYTHONPATH": ":".join(sys.path),
    }
    ran = subprocess.run(
        [sys.executable, "-c", _SHARDED], env=environment, capture_output=True, check=True
    )
    devices, found = json.loads(ran.stdout)
    assert devices == 8
    for i, log_probabilities in enumerate(found):
        np.testing.assert_allclose(whole[i].log_probabilities, log_probabilities, atol=2e-5)
