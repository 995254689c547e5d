"""Cross-entropy of next tokens without ever holding all logits.

Logits (B, T, V) of a 2,048-token batch and a 50,304-word vocabulary are the largest array of a
training step by far. Here they exist for a chunk of positions (and, if asked, of vocabulary) at a
time. The gradient of a chunk is computed while its logits are there, in the forward pass, so
nothing is kept and nothing is computed twice: the backward pass only scales two arrays.

On several devices the head is gathered once, before the chunks, and each device sums the head's
gradient of its own rows; these sums meet once, after the chunks. P is how many parts the rows are
cut into.
"""

import functools

import jax
import jax.numpy as jnp

from synthdiv.model.partition import constrain, parts, sum_parts


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
        chunk: positions that a device has in one chunk, of all its sequences; rounded so that it
            divides.
        vocab_chunk: vocabulary entries in one chunk, dividing V; 0: all of them.
    """
    B, T, _ = x_BTD.shape
    V = head_VD.shape[0]
    pieces = parts("R", B)
    width = max(1, min(T, chunk * pieces // B))
    while T % width:
        width -= 1
    if vocab_chunk in (0, V):
        vocab_chunk = V
    elif V % vocab_chunk:
        raise ValueError(f"vocab_chunk={vocab_chunk} does not divide the vocabulary of {V}")
    settings = (z_loss, width, vocab_chunk, pieces)
    return _loss(settings, x_BTD, head_VD, targets_BT, weights_BT.astype(jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(settings, x_BTD, head_VD, targets_BT, weights_BT):
    z_loss, width, vocab_chunk, _ = settings
    head_VD = constrain(head_VD.astype(x_BTD.dtype), "V")

    def one(total, chunk):
        x_RD, targets_R, weights_R = chunk
        log_z_R, picked_R = _normaliser(x_RD, head_VD, targets_R, vocab_chunk)
        nll_R = log_z_R - picked_R
        return total + jnp.sum(weights_R * (nll_R + z_loss * log_z_R**2)), nll_R

    chunks = tuple(_cut(a, width) for a in (x_BTD, targets_BT, weights_BT))
    total, nll = _over_chunks(one, jnp.zeros((), jnp.float32), chunks)
    return total, _join(nll, x_BTD.shape[0])


def _forward(settings, x_BTD, head_VD, targets_BT, weights_BT):
    z_loss, width, vocab_chunk, P = settings
    head_dtype = head_VD.dtype
    head_VD = constrain(head_VD.astype(x_BTD.dtype), "V")

    def one(carry, chunk):
        total, dhead_PVD = carry
        x_RD, targets_R, weights_R = chunk
        whole = vocab_chunk == head_VD.shape[0]
        if whole:
            logits_RV = _logits(x_RD, head_VD)
            peak_R = jnp.max(logits_RV, axis=-1)
            mass_RV = jnp.exp(logits_RV - peak_R[..., None])
            sum_R = jnp.sum(mass_RV, axis=-1)
            log_z_R = peak_R + jnp.log(sum_R)
            picked_R = _pick(logits_RV, targets_R)
        else:
            log_z_R, picked_R = _normaliser(x_RD, head_VD, targets_R, vocab_chunk)
        nll_R = log_z_R - picked_R
        total += jnp.sum(weights_R * (nll_R + z_loss * log_z_R**2))
        # d/dlogit of nll + z*log(Z)^2 is softmax * (1 + 2 z log Z) - onehot.
        scale_R = weights_R * (1 + 2 * z_loss * log_z_R)

        def gradients(first, share_Rv, head_vD):
            """Takes scale * softmax of a piece of the vocabulary."""
            entry_v = first + jnp.arange(head_vD.shape[0])
            hit_Rv = targets_R[..., None] == entry_v
            dlogits_Rv = share_Rv - jnp.where(hit_Rv, weights_R[..., None], 0)
            dlogits_Rv = dlogits_Rv.astype(x_BTD.dtype)
            dx_RD = jnp.einsum("Rv,vD->RD", dlogits_Rv, head_vD, preferred_element_type=jnp.float32)
            x_PRD, dlogits_PRv = (a.reshape(P, -1, a.shape[1]) for a in (x_RD, dlogits_Rv))
            # Through its transpose, which XLA's CPU backend computes twice as fast.
            dhead_PDv = jnp.einsum(
                "PRD,PRv->PDv", x_PRD, dlogits_PRv, preferred_element_type=jnp.float32
            )
            return dx_RD, jnp.swapaxes(dhead_PDv, 1, 2)

        if whole:
            share_RV = mass_RV * (scale_R / sum_R)[..., None]
            dx_RD, part_PVD = gradients(0, share_RV, head_VD)
        else:

            def piece(dx_RD, first_and_head):
                first, head_vD = first_and_head
                softmax_Rv = jnp.exp(_logits(x_RD, head_vD) - log_z_R[..., None])
                more_RD, part_PvD = gradients(first, softmax_Rv * scale_R[..., None], head_vD)
                return dx_RD + more_RD, part_PvD

            start = jnp.zeros(x_RD.shape, jnp.float32)
            dx_RD, part = jax.lax.scan(piece, start, _vocab_pieces(head_VD, vocab_chunk))
            part_PVD = jnp.swapaxes(part, 0, 1).reshape(P, *head_VD.shape)
        dhead_PVD += constrain(part_PVD, "RV")
        return (total, dhead_PVD), (nll_R, dx_RD.astype(x_BTD.dtype))

    start = (jnp.zeros((), jnp.float32), jnp.zeros((P, *head_VD.shape), jnp.float32))
    chunks = tuple(_cut(a, width) for a in (x_BTD, targets_BT, weights_BT))
    (total, dhead_PVD), (nll, dx) = _over_chunks(one, start, chunks)
    dhead_VD = sum_parts(dhead_PVD, "VD")
    B = x_BTD.shape[0]
    return (total, _join(nll, B)), (_join(dx, B), dhead_VD.astype(head_dtype))


def _backward(settings, saved, cotangents):
    dx_BTD, dhead_VD = saved
    scale, _ = cotangents
    dx_BTD, dhead_VD = ((d * scale).astype(d.dtype) for d in (dx_BTD, dhead_VD))
    return dx_BTD, dhead_VD, None, None


_loss.defvjp(_forward, _backward)


def _logits(x_RD, head_VD):
    logits = jnp.einsum("RD,VD->RV", x_RD, head_VD, preferred_element_type=jnp.float32)
    return constrain(logits, "RV")


def _pick(logits_RV, targets_R):
    return jnp.take_along_axis(logits_RV, targets_R[..., None], axis=-1)[..., 0]


def _vocab_pieces(head_VD, vocab_chunk):
    V, D = head_VD.shape
    return jnp.arange(0, V, vocab_chunk), head_VD.reshape(V // vocab_chunk, vocab_chunk, D)


def _normaliser(x_RD, head_VD, targets_R, vocab_chunk):
    """Returns log(Z) and the target's logit, each (R,), from one pass over the vocabulary."""
    if vocab_chunk == head_VD.shape[0]:
        logits_RV = _logits(x_RD, head_VD)
        return jax.nn.logsumexp(logits_RV, axis=-1), _pick(logits_RV, targets_R)

    def piece(carry, first_and_head):
        log_z_R, picked_R = carry
        first, head_vD = first_and_head
        logits_Rv = _logits(x_RD, head_vD)
        inside = (targets_R >= first) & (targets_R < first + vocab_chunk)
        index = jnp.clip(targets_R - first, 0, vocab_chunk - 1)
        picked_R = jnp.where(inside, _pick(logits_Rv, index), picked_R)
        return (jnp.logaddexp(log_z_R, jax.nn.logsumexp(logits_Rv, axis=-1)), picked_R), None

    start = (jnp.full(targets_R.shape, -jnp.inf), jnp.zeros(targets_R.shape))
    return jax.lax.scan(piece, start, _vocab_pieces(head_VD, vocab_chunk))[0]


def _cut(a, width):
    """(B, T, ...) -> (T/width, R, ...) with R = B*width: a row keeps the device of its sequence."""
    B, T = a.shape[:2]
    chunks = jnp.swapaxes(a.reshape(B, T // width, width, *a.shape[2:]), 0, 1)
    return chunks.reshape(T // width, B * width, *a.shape[2:])


def _join(a, B):
    """The inverse of `_cut`."""
    chunks, R = a.shape[:2]
    a = jnp.swapaxes(a.reshape(chunks, B, R // B, *a.shape[2:]), 0, 1)
    return a.reshape(B, chunks * R // B, *a.shape[3:])


def _over_chunks(function, start, chunks):
    if chunks[0].shape[0] == 1:  # no loop where there is nothing to loop over
        carry, out = function(start, jax.tree.map(lambda a: a[0], chunks))
        return carry, jax.tree.map(lambda a: a[None], out)
    return jax.lax.scan(function, start, chunks)
