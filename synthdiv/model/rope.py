"""Rotary position embedding, with the frequency scalings of Hugging Face Llama configs.

The two halves of a head are rotated against each other, as in Hugging Face's weights (and not
interleaved), so weights move in and out without a permutation.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from synthdiv.model.config import ModelConfig


def frequencies(config: ModelConfig) -> tuple[np.ndarray, float]:
    """Returns the angle per position of each pair of a head's dimensions, (H/2,), and a factor.

    The factor multiplies cosine and sine; it is 1 except in YaRN (Peng et al. 2023, section 3.4).
    """
    half = config.head_size // 2
    base = config.rope_theta ** -(np.arange(half, dtype=np.float64) / half)
    original = config.rope_original_length or config.max_length
    factor = config.rope_factor
    if config.rope_scaling == "linear":
        return (base / factor).astype(np.float32), 1.0
    if config.rope_scaling == "llama3":
        # Wavelengths under original/high stay, those over original/low are stretched by the factor,
        # and between the two the frequency is blended linearly in original/wavelength.
        turns = original * base / (2 * math.pi)
        low, high = config.rope_low_freq_factor, config.rope_high_freq_factor
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return (base * (keep + (1 - keep) / factor)).astype(np.float32), 1.0
    if config.rope_scaling == "yarn":

        def dimension(turns: float) -> float:
            """Returns the (fractional) pair that makes `turns` turns over the original context."""
            return half * math.log(original / (turns * 2 * math.pi)) / math.log(config.rope_theta)

        first, last = dimension(config.rope_beta_fast), dimension(config.rope_beta_slow)
        if config.rope_truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, 2 * half - 1)
        ramp = np.clip((np.arange(half) - first) / max(last - first, 0.001), 0, 1)
        scale = config.rope_attention_factor or (0.1 * math.log(max(factor, 1)) + 1)
        return (base * (1 - ramp) + base / factor * ramp).astype(np.float32), scale
    return base.astype(np.float32), 1.0


def angles(config: ModelConfig, positions_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns cosine and sine, float32, each (B, T, 1, H/2), for integer positions (B, T)."""
    frequency_H, scale = frequencies(config)
    angle_BT1H = positions_BT[..., None, None].astype(jnp.float32) * frequency_H
    return jnp.cos(angle_BT1H) * scale, jnp.sin(angle_BT1H) * scale


def rotate(x_BTNH: jax.Array, cosine_BT1H: jax.Array, sine_BT1H: jax.Array) -> jax.Array:
    """Returns x (B, T, N, H) rotated by the angles, computed in float32, in x's dtype."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate(
        [
            first * cosine_BT1H - second * sine_BT1H,
            second * cosine_BT1H + first * sine_BT1H,
        ],
        axis=-1,
    )
    return turned.astype(x_BTNH.dtype)
