"""Generation with keys and values kept equals reading everything anew for each token."""

import jax
import numpy as np
import pytest
from flax import nnx

from synthdiv.evaluation.generating import Prompt, generate
from synthdiv.evaluation.scoring import Model
from synthdiv.model import Llama
from tests.evaluation.small import CONFIG

END = CONFIG.vocab_size - 1


@pytest.fixture(scope="module")
def llama() -> Llama:
    return Llama(CONFIG, nnx.Rngs(5))


@pytest.fixture(scope="module")
def model(llama: Llama) -> Model:
    return Model(nnx.to_pure_dict(nnx.split(llama)[1]), CONFIG, 1024)


def _prompts(count: int, new: int, **settings) -> list[Prompt]:
    random = np.random.default_rng(1)
    lengths = random.integers(1, 32, count)
    lengths[0] = 60  # a shape of its own
    draws = [random.integers(0, CONFIG.vocab_size - 1, int(n)).astype(np.int32) for n in lengths]
    return [Prompt(tokens, new, seed=i, **settings) for i, tokens in enumerate(draws)]


def _generated(model: Model, prompts: list[Prompt], **settings) -> list[list[int]]:
    found = {i: t for batch in generate(model, prompts, END, **settings) for i, t in batch}
    return [found[i].tolist() for i in range(len(prompts))]


def test_greedy_generation_is_reading_everything_anew(llama, model):
    prompts = _prompts(8, 32)
    forward = jax.jit(lambda tokens_1T, last: llama(tokens_1T)[0, last].argmax())
    for prompt, found in zip(prompts, _generated(model, prompts), strict=True):
        tokens = prompt.tokens.tolist()
        for _ in range(32):
            padded = np.zeros((1, 128), np.int32)
            padded[0, : len(tokens)] = tokens
            tokens.append(int(forward(padded, len(tokens) - 1)))
            if tokens[-1] == END:
                tokens.pop()
                break
        assert found == tokens[len(prompt.tokens) :]


def test_generation_ends_at_the_end_of_text(model):
    prompts = _prompts(8, 32)
    free = _generated(model, prompts)
    end = free[0][3]  # as if this token ended a text
    found = {i: t.tolist() for b in generate(model, prompts, end) for i, t in b}
    for i, tokens in enumerate(free):
        assert found[i] == (tokens[: tokens.index(end)] if end in tokens else tokens)


def test_generation_stops_where_it_is_told_to(model):
    prompts = _prompts(8, 32)
    asked = []

    def stopped(index: int, tokens: np.ndarray) -> bool:
        asked.append((index, len(tokens)))
        return index == 2

    found = _generated(model, prompts, stopped=stopped)
    assert len(found[2]) == 16 and (2, 32) not in asked
    assert all(len(found[i]) == 32 for i in (0, 1, 3))


def test_drawn_text_follows_its_seed_and_the_temperature(model):
    hot = _generated(model, _prompts(8, 32, temperature=1.0))
    assert hot == _generated(model, _prompts(8, 32, temperature=1.0))
    cold = _generated(model, _prompts(8, 32, temperature=1e-4))
    assert cold == _generated(model, _prompts(8, 32)) and cold != hot
    tokens = _prompts(2, 32)[1].tokens
    drawn = _generated(model, [Prompt(tokens, 32, 1.0, seed) for seed in range(8)])
    assert len(set(map(tuple, drawn))) == 8


def test_what_is_done_is_not_generated(model):
    prompts = _prompts(8, 32)
    assert list(generate(model, prompts, END, done=lambda index: True)) == []
