"""The mixture's math (Eq. 4-8 of the paper), in `keras.ops`: responsibilities, soft weights, hard weights.

What a layer calls, in training and in evaluation:

    kernel = training_weights(latent, mu, pi, gamma, tau, posterior=..., weight_gradient=..., training_weight=...)
    kernel = hard_weights(latent, mu, pi, gamma, posterior=...)

Shapes. One mixture: `mu`, `pi`, `gamma` are `[K]` (2 to 256 components, `mu[0]` is the zero component), `tau` is a scalar and
`w` has any shape, a scalar and an empty one included. Several mixtures at once (channel groups): `mu`, `pi`, `gamma` are
`[G, K]`, `tau` is a scalar or `[G]` and the *first* axis of `w` is G; group g of `w` meets row g of the parameters.

`pi` need not be normalised: the functions use `|pi| / sum|pi|`. The math runs in float32 (float64 where the difference of two
log posteriors needs it) whatever the dtype of `w`; results come back in the dtype of `w`, gradients in each argument's own.
A weight further out than 10^6 times max |mu| + max gamma counts as being there.
gamma and tau below `GAMMA_FLOOR` and `TAU_FLOOR` count as these, with gradient 0; a tau at or below 0 given as a Python number
is an error.

Soft weights have closed-form gradients in O(N) memory (`mixture_blocks`), hard weights come from thresholds
(`mixture_thresholds`). On TensorFlow both are compiled by XLA on their own, also when the code around them is not; the compiled
code is shared by weights of similar size.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from dgms_keras import mixture_blocks, mixture_thresholds
from dgms_keras.backend_ops import after, compiled, inside_xla, pieces, traced, xla_available
from dgms_keras.config import POSTERIORS, TRAINING_WEIGHTS, WEIGHT_GRADIENTS
from dgms_keras.mixture_blocks import GAMMA_FLOOR, TAU_FLOOR

__all__ = [
    "GAMMA_FLOOR",
    "TAU_FLOOR",
    "hard_indices",
    "hard_weights",
    "responsibilities",
    "soft_weights",
    "training_weights",
]

# On TensorFlow one compiled program serves all weights up to each of these sizes (they are padded; only as many blocks as the
# weights fill are computed). Larger weights are cut into pieces of the last size, which TensorFlow runs side by side.
_SIZES = (1 << 12, 1 << 16, 1 << 18)


def responsibilities(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str = "mixture") -> Any:
    """phi_k(w): how much each component answers for each weight.

    Args:
        w: weights, any shape, float; with channel groups the first axis is the group.
        mu, pi, gamma: means, shares (> 0 up to a common factor) and standard deviations: `[K]`, or `[groups, K]`.
        posterior: `"mixture"`: phi_k = pi_k N_k(w) / sum_i pi_i N_i(w), evaluated in the log domain, so nothing underflows
            however far from all means a weight is. `"paper"`: softmax_k(pi_k N_k(w)), Eq. 6 as printed (all phi_k are 1/K
            where all densities underflow, as there).

    Returns:
        `w.shape + [K]`, the dtype of `w`; sums to 1 over the last axis. O(N K) memory, naturally; differentiable.

    Raises:
        ValueError: an unknown `posterior`, or shapes that do not fit.

    Source: Eq. 6.
    """
    _choice("posterior", posterior, POSTERIORS)
    if keras.utils.is_keras_tensor(w):
        return _Operation(responsibilities, last_axis=True)(w, mu, pi, gamma, posterior=posterior)
    w = ops.convert_to_tensor(w)
    rows, mu, pi, gamma = _rows(w, mu, pi, gamma)
    if 0 in rows.shape:
        return ops.zeros((*w.shape, mu.shape[1]), keras.backend.standardize_dtype(w.dtype))
    p = mixture_blocks.prepare(mu, pi, gamma, ops.ones((mu.shape[0],), "float32"))
    rows = rows[0] if mu.shape[0] == 1 else rows
    phi = ops.moveaxis(mixture_blocks.block_responsibilities(rows, p, posterior), 0, -1)
    return ops.cast(ops.reshape(phi, (*w.shape, mu.shape[1])), keras.backend.standardize_dtype(w.dtype))


def soft_weights(w: Any, mu: Any, pi: Any, gamma: Any, tau: Any, posterior: str = "mixture") -> Any:
    """sum_k mu_k softmax_k(phi_k / tau): the weights used while training.

    Args:
        w, mu, pi, gamma, posterior: as in `responsibilities`.
        tau: temperature, > 0: a scalar, or `[groups]`.

    Returns:
        The shape and dtype of `w`. Differentiable once with respect to all five, in O(N) memory.

    Raises:
        ValueError: as in `responsibilities`, or `tau` is a Python number <= 0.

    Source: Eq. 7 and 8.
    """
    return training_weights(w, mu, pi, gamma, tau, posterior, weight_gradient="mixture", training_weight="soft")


def hard_indices(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str = "mixture") -> Any:
    """argmax_k phi_k(w).

    Args:
        w, mu, pi, gamma, posterior: as in `responsibilities`. Both posteriors have the same argmax (where "paper" underflows
            the log domain decides), so `posterior` changes nothing.

    Returns:
        int32, the shape of `w`. The largest float64 log posterior wins, of equal ones the lowest index.

    Raises:
        ValueError: as in `responsibilities`.

    Source: Eq. 5.
    """
    return _hard(w, mu, pi, gamma, posterior, "indices")


def hard_weights(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str = "mixture") -> Any:
    """mu at `hard_indices`: the weights used for inference and export.

    Args:
        w, mu, pi, gamma, posterior: as in `hard_indices`.

    Returns:
        The shape and dtype of `w`. A step function of `w`: no gradient flows back to any argument.

    Raises:
        ValueError: as in `responsibilities`.

    Source: Eq. 4.
    """
    return _hard(w, mu, pi, gamma, posterior, "weights")


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
    """What a layer multiplies with while it trains.

    Args:
        w, mu, pi, gamma, tau, posterior: as in `soft_weights`.
        weight_gradient: `"straight_through"` adds the identity to the gradient with respect to `w`; `"mixture"` does not.
        training_weight: `"soft"`: the result is `soft_weights`. `"hard"`: the result is `hard_weights`, with the gradient of
            `soft_weights`.

    Returns:
        The shape and dtype of `w`.

    Raises:
        ValueError: as in `soft_weights`, or an unknown option.
    """
    _choice("posterior", posterior, POSTERIORS)
    _choice("weight_gradient", weight_gradient, WEIGHT_GRADIENTS)
    _choice("training_weight", training_weight, TRAINING_WEIGHTS)
    if isinstance(tau, numbers.Real) and not (tau > 0 and math.isfinite(tau)):
        raise ValueError(f"`tau` must be a finite number > 0. Received: tau={tau!r}")
    options = (posterior, weight_gradient, training_weight)
    if keras.utils.is_keras_tensor(w):
        return _Operation(training_weights)(w, mu, pi, gamma, tau, *options)
    w = ops.convert_to_tensor(w)
    rows, mu, pi, gamma = _rows(w, mu, pi, gamma)
    tau = _float32(tau)
    if len(tau.shape) > 1 or (len(tau.shape) == 1 and tau.shape[0] != mu.shape[0]):
        raise ValueError(
            f"`tau` must be a scalar or have the shape {(mu.shape[0],)}. Received: shape {tuple(tau.shape)}"
        )
    tau = ops.broadcast_to(tau, (mu.shape[0],))
    if 0 in rows.shape:
        return w
    out = _training_function(*options)(rows, mu, pi, gamma, tau)
    return ops.cast(ops.reshape(out, w.shape), keras.backend.standardize_dtype(w.dtype))


@functools.cache
def _training_function(posterior: str, weight_gradient: str, training_weight: str) -> Callable[..., Any]:
    """(w `[G, n]`, mu, pi, gamma `[G, K]`, tau `[G]`) -> `[G, n]`, with its own gradient; all float32."""

    @ops.custom_gradient
    def function(w: Any, mu: Any, pi: Any, gamma: Any, tau: Any) -> Any:
        if training_weight == "hard":
            value = _run("weights", posterior, [w], [mu, pi, gamma])
        else:
            value = _run("forward", posterior, [w], [mu, pi, gamma, tau])

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any, Any, Any]:
            g = args[0] if upstream is None else upstream  # PyTorch passes the arguments first, then upstream=
            g = after(_float32(g), value)  # so that their pieces are not in memory together
            dw, *others = _run("backward", posterior, [w, g], [mu, pi, gamma, tau])
            if weight_gradient == "straight_through":
                dw = dw + g
            return dw, *others

        return value, gradient

    return function


def _hard(w: Any, mu: Any, pi: Any, gamma: Any, posterior: str, what: str) -> Any:
    _choice("posterior", posterior, POSTERIORS)
    if keras.utils.is_keras_tensor(w):
        public = hard_indices if what == "indices" else hard_weights
        return _Operation(public, dtype="int32" if what == "indices" else None)(w, mu, pi, gamma, posterior)
    w = ops.convert_to_tensor(w)
    dtype = "int32" if what == "indices" else keras.backend.standardize_dtype(w.dtype)
    rows, mu, pi, gamma = _rows(w, mu, pi, gamma)
    if 0 in rows.shape:
        return ops.cast(w, dtype)
    return ops.cast(ops.reshape(_run(what, posterior, [rows], [mu, pi, gamma]), w.shape), dtype)


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}. Received: {name}={value!r}")


def _float32(x: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(x), "float32")


def _rows(w: Any, mu: Any, pi: Any, gamma: Any) -> tuple[Any, Any, Any, Any]:
    """All in float32: w `[G, n]`, the parameters `[G, K]`."""
    mu, pi, gamma = _float32(mu), _float32(pi), _float32(gamma)
    shape = tuple(mu.shape)
    for name, x in (("pi", pi), ("gamma", gamma)):
        if tuple(x.shape) != shape:
            raise ValueError(f"`{name}` must have the shape of `mu`, {shape}. Received: shape {tuple(x.shape)}")
    if len(shape) not in (1, 2) or shape[-1] < 2:
        raise ValueError(f"`mu` must have the shape [K] or [groups, K] with K >= 2. Received: shape {shape}")
    if len(shape) == 2 and (len(w.shape) == 0 or w.shape[0] != shape[0]):
        raise ValueError(
            f"`w` must have the groups of `mu`, {shape[0]}, on its first axis. Received: shape {tuple(w.shape)}"
        )
    groups = shape[0] if len(shape) == 2 else 1
    size = math.prod(w.shape) // max(groups, 1)
    w = ops.reshape(_float32(w), (groups, size))
    return w, *(ops.reshape(x, (groups, shape[-1])) for x in (mu, pi, gamma))


# Each takes (count, large, prepared): `count` as in `mixture_blocks.forward`; w, and for "backward" the upstream gradient; what
# `_prepare` makes of the parameters.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "forward": lambda posterior, count, large, prepared: mixture_blocks.forward(
        *large, mixture_blocks.Parameters(*prepared), count, posterior
    ),
    "backward": lambda posterior, count, large, prepared: mixture_blocks.backward(
        *large, mixture_blocks.Parameters(*prepared), count, posterior
    ),
    "indices": lambda posterior, count, large, prepared: mixture_thresholds.find(*large, *prepared),
    "weights": lambda posterior, count, large, prepared: mixture_thresholds.find(*large, *prepared),
}


@functools.cache
def _prepare(name: str) -> Callable[..., Any]:
    if name in ("forward", "backward"):
        return mixture_blocks.prepare
    return compiled(functools.partial(mixture_thresholds.lookup_tables, what=name))


def _finished(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """(count, large, parameters) -> as `_run`: one of the functions with what goes before and after it."""

    def finished(count: Any, large: Sequence[Any], parameters: Sequence[Any]) -> Any:
        out = function(count, large, _prepare(name)(*parameters))
        if name != "backward":
            return out
        dw, sums, tau_sums = out
        return dw, *mixture_blocks.parameter_gradients(sums, tau_sums, *parameters[1:])

    return finished


@functools.cache
def _program(name: str, posterior: str) -> Callable[..., Any]:
    """`_finished` and compiled. On TensorFlow it is a graph function around the compiled one: a layer then adds one call to the
    graph of a training step instead of the hundreds of small operations before and after, and these stay outside the compiled
    code because that is slow to make. On JAX all is compiled together, because float64 cannot enter or leave a compiled
    function there."""
    function = functools.partial(_FUNCTIONS[name], posterior)
    if keras.backend.backend() == "jax":
        return compiled(_finished(name, function))
    return traced(_finished(name, functools.partial(_in_pieces, name, compiled(function))))


def _in_pieces(
    name: str, function: Callable[..., Any], count: Any, large: Sequence[Any], prepared: Sequence[Any]
) -> Any:
    """One of the functions, compiled, on as many weights as there are."""
    size, largest = large[0].shape[-1], _SIZES[-1]
    if len(large[0].shape) > 1 or size <= largest:
        return function(count, large, prepared)

    def piece(start: Any, length: int) -> tuple[Any, ...]:
        cut, count = _padded([ops.slice(x, (start,), (length,)) for x in large], largest)
        out = function(count, cut, prepared)
        return out if isinstance(out, tuple) else (out,)

    # For "backward" the sums of `mixture_blocks.backward`.
    sums = (ops.zeros((3, prepared[0].shape[0]), "float32"), ops.zeros((), "float32")) if name == "backward" else ()
    out = pieces(piece, size, largest, "int32" if name == "indices" else "float32", sums)
    return out if sums else out[0]


def _padded(large: Sequence[Any], size: int) -> tuple[list[Any], Any]:
    """Vectors filled with zeros to a size, and how long they were."""
    missing = size - large[0].shape[0]
    count = ops.convert_to_tensor(size - missing, "int32")
    return [ops.pad(x, ((0, missing),)) if missing else x for x in large], count


def _run(name: str, posterior: str, large: Sequence[Any], parameters: Sequence[Any]) -> Any:
    """One of the functions on `[G, n]` weights, compiled where that helps.

    Args:
        name: a key of `_FUNCTIONS`.
        posterior: passed on.
        large: w, and for "backward" the upstream gradient: float32 `[G, n]`.
        parameters: mu, pi, gamma `[G, K]`, and tau `[G]` for "forward" and "backward".

    Returns:
        `[G, n]`; for "backward" a tuple of that and the gradients with respect to mu, pi, gamma `[G, K]` and tau `[G]`.
    """
    # The blocks need no derivatives of their own: TensorFlow would look for them in a compiled function otherwise.
    large, parameters = ([ops.stop_gradient(x) for x in xs] for xs in (large, parameters))
    groups, size = large[0].shape
    if groups == 1:  # a plain vector: the code that XLA makes for it is better
        large = [ops.reshape(x, (size,)) for x in large]
    backend, count = keras.backend.backend(), None
    if backend == "jax":
        program = _program(name, posterior)
    elif backend != "tensorflow" or not xla_available() or inside_xla():
        program = _finished(name, functools.partial(_FUNCTIONS[name], posterior))
    else:
        program = _program(name, posterior)
        if groups == 1 and size <= _SIZES[-1]:
            large, count = _padded(large, next(s for s in _SIZES if size <= s))
    out = program(count, large, parameters)
    first, *others = out if name == "backward" else (out,)
    first = ops.reshape(first[..., :size], (groups, size))
    return (first, *others) if name == "backward" else first


class _Operation(keras.Operation):
    """One of the public functions on symbolic tensors, for Functional models."""

    def __init__(self, function: Callable[..., Any], dtype: str | None = None, last_axis: bool = False) -> None:
        super().__init__()
        self._function = function
        self._dtype = dtype
        self._last_axis = last_axis

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def compute_output_spec(self, w: Any, mu: Any, *args: Any, **kwargs: Any) -> Any:
        shape = (*w.shape, ops.shape(mu)[-1]) if self._last_axis else w.shape
        return keras.KerasTensor(shape, dtype=self._dtype or w.dtype)
