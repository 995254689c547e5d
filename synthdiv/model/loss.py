"""Cross-entropy of next tokens without ever holding all logits.

Logits (B, T, V) of a 2,048-token batch and a 50,304-word vocabulary are the largest array of a
training step by far. Here they exist for a chunk of positions (and, if asked, of vocabulary) at a
time. The gradient of a chunk is computed while its logits are there, in the forward pass, so
nothing is kept and nothing is computed twice: the backward pass only scales two arrays.
"""

import functools

import jax
import jax.numpy as jnp

from synthdiv.model.partition import constrain


def cross_entropy(
    x_BTD: jax.Array,
    head_VD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
    *,
    z_loss: float = 0.0,
    chunk: int = 2048,
    vocab_chunk: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Returns the weighted sum of losses, float32 scalar, and each position's loss (B, T) in nats.

    The sum is of weight * (nll + z_loss * log(Z)^2), where Z is the softmax denominator; the second
    result is the plain negative log-likelihood, unweighted, and carries no gradient. Gradients go
    to x and to the head.

    Args:
        x_BTD: what is multiplied with the head, in the dtype of the product.
        head_VD: output embedding, float32 or x's dtype; its gradient comes back in its dtype.
        targets_BT: token ids.
        weights_BT: float32; 0 leaves a position out.
        chunk: positions, summed over the batch, in one chunk; rounded so that it divides.
        vocab_chunk: vocabulary entries in one chunk, dividing V; 0: all of them.
    """
    B, T, _ = x_BTD.shape
    V = head_VD.shape[0]
    width = max(1, min(T, chunk // B))
    while T % width:
        width -= 1
    if vocab_chunk in (0, V):
        vocab_chunk = V
    elif V % vocab_chunk:
        raise ValueError(f"vocab_chunk={vocab_chunk} does not divide the vocabulary of {V}")
    settings = (z_loss, width, vocab_chunk)
    return _loss(settings, x_BTD, head_VD, targets_BT, weights_BT.astype(jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(settings, x_BTD, head_VD, targets_BT, weights_BT):
    z_loss, width, vocab_chunk = settings
    head_VD = head_VD.astype(x_BTD.dtype)

    def one(total, chunk):
        x_BCD, targets_BC, weights_BC = chunk
        log_z_BC, picked_BC = _normaliser(x_BCD, head_VD, targets_BC, vocab_chunk)
        nll_BC = log_z_BC - picked_BC
        return total + jnp.sum(weights_BC * (nll_BC + z_loss * log_z_BC**2)), nll_BC

    chunks = tuple(_cut(a, width) for a in (x_BTD, targets_BT, weights_BT))
    total, nll = _over_chunks(one, jnp.zeros((), jnp.float32), chunks)
    return total, _join(nll)


def _forward(settings, x_BTD, head_VD, targets_BT, weights_BT):
    z_loss, width, vocab_chunk = settings
    head_dtype = head_VD.dtype
    head_VD = head_VD.astype(x_BTD.dtype)

    def one(carry, chunk):
        total, dhead_VD = carry
        x_BCD, targets_BC, weights_BC = chunk
        whole = vocab_chunk == head_VD.shape[0]
        if whole:
            logits_BCV = _logits(x_BCD, head_VD)
            log_z_BC = jax.nn.logsumexp(logits_BCV, axis=-1)
            picked_BC = _pick(logits_BCV, targets_BC)
        else:
            log_z_BC, picked_BC = _normaliser(x_BCD, head_VD, targets_BC, vocab_chunk)
        nll_BC = log_z_BC - picked_BC
        total += jnp.sum(weights_BC * (nll_BC + z_loss * log_z_BC**2))
        # d/dlogit of nll + z*log(Z)^2 is softmax * (1 + 2 z log Z) - onehot.
        scale_BC = weights_BC * (1 + 2 * z_loss * log_z_BC)

        def gradients(first, logits_BCv, head_vD):
            softmax_BCv = jnp.exp(logits_BCv - log_z_BC[..., None])
            entry_v = first + jnp.arange(head_vD.shape[0])
            hit_BCv = targets_BC[..., None] == entry_v
            dlogits_BCv = softmax_BCv * scale_BC[..., None] - hit_BCv * weights_BC[..., None]
            dlogits_BCv = dlogits_BCv.astype(x_BTD.dtype)
            dx_BCD = jnp.einsum(
                "BCv,vD->BCD", dlogits_BCv, head_vD, preferred_element_type=jnp.float32
            )
            dhead_vD = jnp.einsum(
                "BCv,BCD->vD", dlogits_BCv, x_BCD, preferred_element_type=jnp.float32
            )
            return dx_BCD, dhead_vD

        if whole:
            dx_BCD, part_VD = gradients(0, logits_BCV, head_VD)
        else:

            def piece(dx_BCD, first_and_head):
                first, head_vD = first_and_head
                more_BCD, part_vD = gradients(first, _logits(x_BCD, head_vD), head_vD)
                return dx_BCD + more_BCD, part_vD

            start = jnp.zeros(x_BCD.shape, jnp.float32)
            dx_BCD, part = jax.lax.scan(piece, start, _vocab_pieces(head_VD, vocab_chunk))
            part_VD = part.reshape(head_VD.shape)
        return (total, dhead_VD + constrain(part_VD, "VD")), (nll_BC, dx_BCD.astype(x_BTD.dtype))

    start = (jnp.zeros((), jnp.float32), jnp.zeros(head_VD.shape, jnp.float32))
    chunks = tuple(_cut(a, width) for a in (x_BTD, targets_BT, weights_BT))
    (total, dhead_VD), (nll, dx) = _over_chunks(one, start, chunks)
    return (total, _join(nll)), (_join(dx), dhead_VD.astype(head_dtype))


def _backward(settings, saved, cotangents):
    dx_BTD, dhead_VD = saved
    scale, _ = cotangents
    dx_BTD, dhead_VD = ((d * scale).astype(d.dtype) for d in (dx_BTD, dhead_VD))
    return dx_BTD, dhead_VD, None, None


_loss.defvjp(_forward, _backward)


def _logits(x_BCD, head_VD):
    logits = jnp.einsum("BCD,VD->BCV", x_BCD, head_VD, preferred_element_type=jnp.float32)
    return constrain(logits, "BCV")


def _pick(logits_BCV, targets_BC):
    return jnp.take_along_axis(logits_BCV, targets_BC[..., None], axis=-1)[..., 0]


def _vocab_pieces(head_VD, vocab_chunk):
    V, D = head_VD.shape
    return jnp.arange(0, V, vocab_chunk), head_VD.reshape(V // vocab_chunk, vocab_chunk, D)


def _normaliser(x_BCD, head_VD, targets_BC, vocab_chunk):
    """Returns log(Z) and the target's logit, each (B, C), from one pass over the vocabulary."""
    if vocab_chunk == head_VD.shape[0]:
        logits_BCV = _logits(x_BCD, head_VD)
        return jax.nn.logsumexp(logits_BCV, axis=-1), _pick(logits_BCV, targets_BC)

    def piece(carry, first_and_head):
        log_z_BC, picked_BC = carry
        first, head_vD = first_and_head
        logits_BCv = _logits(x_BCD, head_vD)
        inside = (targets_BC >= first) & (targets_BC < first + vocab_chunk)
        index = jnp.clip(targets_BC - first, 0, vocab_chunk - 1)
        picked_BC = jnp.where(inside, _pick(logits_BCv, index), picked_BC)
        return (jnp.logaddexp(log_z_BC, jax.nn.logsumexp(logits_BCv, axis=-1)), picked_BC), None

    start = (jnp.full(targets_BC.shape, -jnp.inf), jnp.zeros(targets_BC.shape))
    return jax.lax.scan(piece, start, _vocab_pieces(head_VD, vocab_chunk))[0]


def _cut(a, width):
    """(B, T, ...) -> (T/width, B, width, ...): a sequence keeps its row, and so its device."""
    B, T = a.shape[:2]
    return jnp.swapaxes(a.reshape(B, T // width, width, *a.shape[2:]), 0, 1)


def _join(a):
    """The inverse of `_cut`."""
    a = jnp.swapaxes(a, 0, 1)
    return a.reshape(a.shape[0], a.shape[1] * a.shape[2], *a.shape[3:])


def _over_chunks(function, start, chunks):
    if chunks[0].shape[0] == 1:  # no loop where there is nothing to loop over
        carry, out = function(start, jax.tree.map(lambda a: a[0], chunks))
        return carry, jax.tree.map(lambda a: a[None], out)
    return jax.lax.scan(function, start, chunks)
