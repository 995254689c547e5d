"""Matrix products of 8-bit floats: an option for training on GPUs from Hopper on.

Each operand is scaled by its largest magnitude, so that this becomes the type's own, and rounded:
activations and weights to E4M3, what comes back to E5M2, which has more range and less precision.
Sums are in float32. The scale is the array's own, of this step ("current scaling"), so a step
depends on nothing but its state and batch. XLA makes cuBLAS's 8-bit products of it on Hopper; other
devices compute the same numbers, slowly.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Scaled = tuple[jax.Array, jax.Array]  # the 8-bit array, and what it is to be multiplied by


@jax.custom_vjp
def product(x_RD: jax.Array, w_DF: jax.Array) -> jax.Array:
    """Returns x @ w in x's dtype, multiplied in 8 bits, as are both gradients."""
    return _forward(x_RD, w_DF)[0]


def _forward(x_RD: jax.Array, w_DF: jax.Array) -> tuple[jax.Array, tuple[Scaled, Scaled]]:
    x, w = _scaled(x_RD, jnp.float8_e4m3fn), _scaled(w_DF, jnp.float8_e4m3fn)
    return _dot(x, w, (1, 0), x_RD.dtype), (x, w)


def _backward(saved: tuple[Scaled, Scaled], upstream_RF: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = saved
    upstream, dtype = _scaled(upstream_RF, jnp.float8_e5m2), upstream_RF.dtype
    return _dot(upstream, w, (1, 1), dtype), _dot(x, upstream, (0, 0), dtype)


product.defvjp(_forward, _backward)


def _scaled(x: jax.Array, kind: DTypeLike) -> Scaled:
    most = float(jnp.finfo(kind).max)
    x32 = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x32))
    scale = jnp.where(largest > 0, largest, 1.0) / most
    # A value beyond the largest one, by rounding of the scale, would become NaN.
    return jnp.clip(x32 / scale, -most, most).astype(kind), scale


def _dot(a: Scaled, b: Scaled, along: tuple[int, int], dtype: DTypeLike) -> jax.Array:
    dimensions = (((along[0],), (along[1],)), ((), ()))
    out = jax.lax.dot_general(a[0], b[0], dimensions, preferred_element_type=jnp.float32)
    return (out * (a[1] * b[1])).astype(dtype)
