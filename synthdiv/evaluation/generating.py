"""Generates text with a key/value cache, in a few fixed shapes.

Prompts of like length share a batch, padded on the left so that all rows write to the same place
next. Tokens come in chunks of a few steps; between chunks the host looks for stop sequences.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.evaluation.scoring import Model
from synthdiv.model import decode
from synthdiv.model.block import head_table
from synthdiv.model.config import ModelConfig

_STEPS = 16  # tokens generated between two checks for stop sequences


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A text to continue.

    Attributes:
        tokens: int32; at most the model's context less `max_new_tokens`.
        max_new_tokens: how many to generate at most.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn.
        seed: of the draws.
        top_p: draws come from the likeliest tokens whose probabilities reach this sum.
    """

    tokens: np.ndarray
    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0


class _Drawing(NamedTuple):
    temperature: np.float32
    top_p: np.float32


def generate(
    model: Model,
    prompts: Sequence[Prompt],
    end_of_text: int,
    stopped: Callable[[int, np.ndarray], bool] = lambda index, tokens: False,
    done: Callable[[int], bool] = lambda index: False,
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Generates from prompts, a batch at a time.

    Args:
        model: the model to read with.
        prompts: the texts to continue.
        end_of_text: the token that ends a text.
        stopped: given a prompt's index and its tokens so far, says whether that is enough.
        done: says which prompts need no answer; a batch of those alone is not run.

    Yields:
        For each batch, (index into `prompts`, tokens int32). They end before `end_of_text`, and may
        run past a stop sequence by less than a chunk.
    """
    shapes: dict[tuple[int, int, float, float], list[int]] = {}
    for index, prompt in enumerate(prompts):
        width = max(32, 1 << (len(prompt.tokens) - 1).bit_length())
        shape = width, prompt.max_new_tokens, prompt.temperature, prompt.top_p
        shapes.setdefault(shape, []).append(index)
    for (width, new, temperature, top_p), indices in sorted(shapes.items(), reverse=True):
        size = model.rows_a_batch(width + new, len(indices))
        for first in range(0, len(indices), size):
            batch = indices[first : first + size]
            if not all(map(done, batch)):
                chosen = [prompts[index] for index in batch]
                with model.exact():
                    drawing = _Drawing(np.float32(temperature or 1.0), np.float32(top_p))
                    how = "nucleus" if top_p < 1 else "all"
                    how = how if temperature > 0 else "greedy"
                    texts = _run(
                        model, chosen, batch, size, width, new, drawing, how, end_of_text, stopped
                    )
                yield list(zip(batch, texts, strict=True))


def _run(
    model: Model,
    prompts: list[Prompt],
    indices: list[int],
    size: int,
    width: int,
    new: int,
    drawing: _Drawing,
    how: str,
    end_of_text: int,
    stopped: Callable[[int, np.ndarray], bool],
) -> list[np.ndarray]:
    room = width + -(-new // _STEPS) * _STEPS
    tokens_BT = np.full((size, width), end_of_text, np.int32)
    padding_B = np.full(size, width - 1, np.int32)  # rows without a prompt read one token
    seeds_B = np.zeros(size, np.uint32)
    for row, prompt in enumerate(prompts):
        padding_B[row] = width - len(prompt.tokens)
        tokens_BT[row, padding_B[row] :] = prompt.tokens
        seeds_B[row] = prompt.seed % (1 << 32)
    tokens, padding, seeds = model.place(tokens_BT, padding_B, seeds_B)
    settings = {"how": how, "everywhere": model.everywhere}
    cache, next_B = _prefill(
        model.params, model.config, tokens, padding, seeds, drawing, room=room, **settings
    )
    texts = [np.empty(0, np.int32) for _ in prompts]
    open_rows = set(range(len(prompts)))
    for place in range(width, room, _STEPS):
        cache, next_B, chunk_BC = _advance(
            model.params, model.config, cache, next_B, place, padding, seeds, drawing, **settings
        )
        chunk_BC = jax.device_get(chunk_BC)
        for row in list(open_rows):
            grown = np.concatenate([texts[row], chunk_BC[row]])[:new]
            ends = np.flatnonzero(grown == end_of_text)
            texts[row] = grown[: ends[0]] if len(ends) else grown
            if len(ends) or len(grown) == new or stopped(indices[row], grown):
                open_rows.remove(row)
        if not open_rows:
            break
    return texts


def _next(params, x_BD, place, seeds_B, drawing: _Drawing, how: str):
    """The token after a place: the likeliest, or one drawn with the row's own random numbers."""
    logits_BV = jnp.einsum(
        "BD,VD->BV", x_BD, head_table(params), preferred_element_type=jnp.float32
    )
    if how == "greedy":
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    logits_BV = logits_BV / drawing.temperature
    if how == "nucleus":
        logits_BV = jnp.where(_likeliest(logits_BV, drawing.top_p), logits_BV, -jnp.inf)
    draw = jax.vmap(
        lambda seed, logits_V: jax.random.categorical(
            jax.random.fold_in(jax.random.key(seed), place), logits_V
        )
    )
    return draw(seeds_B, logits_BV).astype(jnp.int32)


def _likeliest(logits_BV, top_p):
    """Which tokens are the fewest whose probabilities reach `top_p`, or as likely as those."""
    sorted_BV = -jnp.sort(-logits_BV, axis=-1)
    weights_BV = jax.nn.softmax(sorted_BV, axis=-1)
    likelier_BV = jnp.cumsum(weights_BV, axis=-1) - weights_BV  # the sum before each
    least_B1 = jnp.min(jnp.where(likelier_BV < top_p, sorted_BV, jnp.inf), axis=-1, keepdims=True)
    return logits_BV >= least_B1


@functools.partial(jax.jit, static_argnames=("config", "room", "how", "everywhere"))
def _prefill(
    params, config: ModelConfig, tokens_BT, padding_B, seeds_B, drawing, *, room, how, everywhere
):
    B, T = tokens_BT.shape
    positions_BT = jnp.maximum(jnp.arange(T)[None] - padding_B[:, None], 0)
    slot_S = jnp.arange(room)
    visible_BTS = (slot_S[None, None] <= jnp.arange(T)[None, :, None]) & (
        slot_S[None, None] >= padding_B[:, None, None]
    )
    cache = decode.empty_cache(config, B, room)
    x_BTD, cache = decode.read_on(params, config, tokens_BT, positions_BT, visible_BTS, cache)
    return cache, _next(params, x_BTD[:, -1], T, seeds_B, drawing, how)


@functools.partial(
    jax.jit, static_argnames=("config", "how", "everywhere"), donate_argnames=("cache",)
)
def _advance(
    params,
    config: ModelConfig,
    cache: decode.Cache,
    next_B,
    place,
    padding_B,
    seeds_B,
    drawing,
    *,
    how,
    everywhere,
):
    """Generates a chunk from `next_B` at `place`; also returns the tokens written, in order."""
    slot_S = jnp.arange(cache.key_LBSKH.shape[2])

    def step(carry, slot):
        cache, token_B = carry
        visible_BS = (slot_S[None] <= slot) & (slot_S[None] >= padding_B[:, None])
        x_BTD, cache = decode.read_on(
            params,
            config,
            token_B[:, None],
            (slot - padding_B)[:, None],
            visible_BS[:, None],
            cache,
            slot,
        )
        follower_B = _next(params, x_BTD[:, 0], slot + 1, seeds_B, drawing, how)
        return (cache, follower_B), token_B

    (cache, next_B), chunk_CB = jax.lax.scan(step, (cache, next_B), place + jnp.arange(_STEPS))
    chunk_BC = jax.lax.with_sharding_constraint(chunk_CB.T, everywhere)
    return cache, next_B, chunk_BC
