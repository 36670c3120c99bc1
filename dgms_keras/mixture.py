"""The mixture's math (Eq. 4-8 of the paper), in `keras.ops`: responsibilities, soft weights, hard weights.

What a layer calls, in training and in evaluation:

    kernel = training_weights(latent, mu, pi, gamma, tau, posterior=..., weight_gradient=..., training_weight=...)
    kernel = hard_weights(latent, mu, pi, gamma, posterior=...)

Shapes. One mixture: `mu`, `pi`, `gamma` are `[K]` (2 to 256 components, `mu[0]` is the zero component), `tau` is a scalar and
`w` has any shape, a scalar and an empty one included. Several mixtures at once (channel groups): `mu`, `pi`, `gamma` are
`[G, K]`, `tau` is a scalar or `[G]` and the *first* axis of `w` is G; group g of `w` meets row g of the parameters.

`pi` need not be normalised: the functions use `|pi| / sum|pi|`. The math runs in float32 (float64 where the difference of two
log posteriors needs it) whatever the dtype of `w`; results come back in the dtype of `w`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# The least gamma and tau that the formulas see; the gradient of a parameter below its floor is zero.
GAMMA_FLOOR = 1e-8
TAU_FLOOR = 1e-6

POSTERIORS = ("mixture", "paper")
WEIGHT_GRADIENTS = ("straight_through", "mixture")
TRAINING_WEIGHTS = ("soft", "hard")


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}. Received: {name}={value!r}")


def _float32(x: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(x), "float32")


def _log_posterior(w: Any, mu: Any, pi: Any, gamma: Any) -> Any:
    """log(pi_k N_k(w)) up to one constant for all k, `[..., K]`."""
    w, mu, pi, gamma = _float32(w), _float32(mu), _float32(pi), _float32(gamma)
    if len(mu.shape) == 2:
        shape = (mu.shape[0],) + (1,) * (len(w.shape) - 1) + (mu.shape[1],)
        mu, pi, gamma = (ops.reshape(x, shape) for x in (mu, pi, gamma))
    pi = ops.abs(pi) / ops.sum(ops.abs(pi), axis=-1, keepdims=True)
    gamma = ops.maximum(gamma, GAMMA_FLOOR)
    z = (ops.expand_dims(w, -1) - mu) / gamma
    return ops.log(pi) - ops.log(gamma) - 0.5 * z * z


def responsibilities(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str = "mixture") -> Any:
    """phi_k(w), Eq. 6: `w.shape + [K]`."""
    _choice("posterior", posterior, POSTERIORS)
    score = _log_posterior(w, mu, pi, gamma)
    if posterior == "paper":
        score = ops.exp(score - 0.9189385332046727)  # log sqrt(2 pi)
    return ops.cast(ops.softmax(score, axis=-1), keras.backend.standardize_dtype(ops.convert_to_tensor(w).dtype))


def soft_weights(w: Any, mu: Any, pi: Any, gamma: Any, tau: Any, posterior: str = "mixture") -> Any:
    """sum_k mu_k softmax_k(phi_k / tau), Eq. 7 and 8: the shape and dtype of `w`."""
    w = ops.convert_to_tensor(w)
    phi = responsibilities(_float32(w), mu, pi, gamma, posterior)
    mu, tau = _float32(mu), ops.maximum(_float32(tau), TAU_FLOOR)
    if len(mu.shape) == 2:
        mu = ops.reshape(mu, (mu.shape[0],) + (1,) * (len(w.shape) - 1) + (mu.shape[1],))
    if len(tau.shape) == 1:
        tau = ops.reshape(tau, (tau.shape[0],) + (1,) * len(w.shape))
    soft = ops.sum(mu * ops.softmax(phi / tau, axis=-1), axis=-1)
    return ops.cast(soft, keras.backend.standardize_dtype(w.dtype))


def hard_indices(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str = "mixture") -> Any:
    """argmax_k phi_k(w), Eq. 5: int32, the shape of `w`."""
    _choice("posterior", posterior, POSTERIORS)
    return ops.cast(ops.argmax(_log_posterior(w, mu, pi, gamma), axis=-1), "int32")


def hard_weights(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str = "mixture") -> Any:
    """mu at the hard index, Eq. 4: the shape and dtype of `w`."""
    w = ops.convert_to_tensor(w)
    index = hard_indices(w, mu, pi, gamma, posterior)
    mu = _float32(mu)
    if len(mu.shape) == 2:
        flat = ops.take_along_axis(mu, ops.reshape(index, (mu.shape[0], -1)), axis=1)
        hard = ops.reshape(flat, w.shape)
    else:
        hard = ops.take(mu, index)
    return ops.cast(hard, keras.backend.standardize_dtype(w.dtype))


def training_weights(
    w: Any,
    mu: Any,
    pi: Any,
    gamma: Any,
    tau: Any,
    posterior: str = "mixture",
    weight_gradient: str = "straight_through",
    training_weight: str = "soft",
) -> Any:
    """What a layer multiplies with while it trains: the shape and dtype of `w`.

    Forward: the soft weights, or the hard ones with `training_weight="hard"`. Gradient to `mu`, `pi`, `gamma` and `tau`: the
    soft weights'. Gradient to `w`: the soft weights', plus the identity with `weight_gradient="straight_through"`.
    """
    _choice("weight_gradient", weight_gradient, WEIGHT_GRADIENTS)
    _choice("training_weight", training_weight, TRAINING_WEIGHTS)
    w = ops.convert_to_tensor(w)
    soft = soft_weights(w, mu, pi, gamma, tau, posterior)
    out = soft
    if training_weight == "hard":
        out = soft + ops.stop_gradient(hard_weights(w, mu, pi, gamma, posterior) - soft)
    if weight_gradient == "straight_through":
        out = out + (w - ops.stop_gradient(w))
    return out
