"""Generates text with a key/value cache, in a few fixed shapes.

Prompts of like length share a batch, padded on the left so that all rows write to the same place
next. Tokens come in chunks of a few steps; between chunks the host looks for stop sequences.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

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
    """

    tokens: np.ndarray
    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0


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
    shapes: dict[tuple[int, int, float], list[int]] = {}
    for index, prompt in enumerate(prompts):
        width = max(32, 1 << (len(prompt.tokens) - 1).bit_length())
        shape = width, prompt.max_new_tokens, prompt.temperature
        shapes.setdefault(shape, []).append(index)
    for (width, new, temperature), indices in sorted(shapes.items(), reverse=True):
        size = model.rows_a_batch(width + new, len(indices))
        for first in range(0, len(indices), size):
            batch = indices[first : first + size]
            if not all(map(done, batch)):
                chosen = [prompts[index] for index in batch]
                with model.exact():
                    texts = _run(
                        model, chosen, batch, size, width, new, temperature, end_of_text, stopped
                    )
                yield list(zip(batch, texts, strict=True))


def _run(
    model: Model,
    prompts: list[Prompt],
    indices: list[int],
    size: int,
    width: int,
    new: int,
    temperature: float,
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
    settings = {"sampled": temperature > 0, "everywhere": model.everywhere}
    heat = np.float32(temperature or 1.0)
    cache, next_B = _prefill(
        model.params, model.config, tokens, padding, seeds, heat, room=room, **settings
    )
    texts = [np.empty(0, np.int32) for _ in prompts]
    open_rows = set(range(len(prompts)))
    for place in range(width, room, _STEPS):
        cache, next_B, chunk_BC = _advance(
            model.params, model.config, cache, next_B, place, padding, seeds, heat, **settings
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


def _next(params, x_BD, place, seeds_B, heat, sampled: bool):
    """The token after a place: the likeliest, or one drawn with the row's own random numbers."""
    logits_BV = jnp.einsum(
        "BD,VD->BV", x_BD, head_table(params), preferred_element_type=jnp.float32
    )
    if not sampled:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    draw = jax.vmap(
        lambda seed, logits_V: jax.random.categorical(
            jax.random.fold_in(jax.random.key(seed), place), logits_V / heat
        )
    )
    return draw(seeds_B, logits_BV).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("config", "room", "sampled", "everywhere"))
def _prefill(
    params, config: ModelConfig, tokens_BT, padding_B, seeds_B, heat, *, room, sampled, everywhere
):
    B, T = tokens_BT.shape
    positions_BT = jnp.maximum(jnp.arange(T)[None] - padding_B[:, None], 0)
    slot_S = jnp.arange(room)
    visible_BTS = (slot_S[None, None] <= jnp.arange(T)[None, :, None]) & (
        slot_S[None, None] >= padding_B[:, None, None]
    )
    cache = decode.empty_cache(config, B, room)
    x_BTD, cache = decode.read_on(params, config, tokens_BT, positions_BT, visible_BTS, cache)
    return cache, _next(params, x_BTD[:, -1], T, seeds_B, heat, sampled)


@functools.partial(
    jax.jit, static_argnames=("config", "sampled", "everywhere"), donate_argnames=("cache",)
)
def _advance(
    params,
    config: ModelConfig,
    cache: decode.Cache,
    next_B,
    place,
    padding_B,
    seeds_B,
    heat,
    *,
    sampled,
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
        follower_B = _next(params, x_BTD[:, 0], slot + 1, seeds_B, heat, sampled)
        return (cache, follower_B), token_B

    (cache, next_B), chunk_CB = jax.lax.scan(step, (cache, next_B), place + jnp.arange(_STEPS))
    chunk_BC = jax.lax.with_sharding_constraint(chunk_CB.T, everywhere)
    return cache, next_B, chunk_BC
