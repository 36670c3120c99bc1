"""Soft weights and their gradient, block by block: the closed forms behind `mixture.soft_weights`, in O(N) memory.

Phi is a scalar function of one weight, so its value and all derivatives have closed forms. A block of weights is small enough
that its `[K, ...]` intermediates stay in the processor's cache; only w, the result and the sums over the weights are stored.

Notation, for one weight w and components k (m is the one with the largest posterior):

    l_k = log pi_k - log gamma_k - (w - mu_k)^2 / (2 gamma_k^2)     log posterior up to a constant, in float64
    "mixture":  r_k = softmax_k(l_k)                                 Eq. 6 as the authors' code has it
    "paper":    r_k = softmax_k(s_k), s_k = exp(l_k) / sqrt(2 pi)    Eq. 6 as printed
    p_k = softmax_k(r_k / tau)                                       Eq. 7
    v = sum_k mu_k p_k                                               Eq. 8

Numerics. A softmax over r / tau multiplies errors of r by 1 / tau (up to 1000), and l_k is a small difference of large squares,
so float32 alone loses all digits near a transition. What keeps them: the differences l_k - l_m are formed in float64 and then
cast (a difference near 0 keeps its full relative precision); r_k - r_m = r_m * expm1(l_k - l_m) instead of a difference of
rounded exponentials; and means over the components that are then subtracted (v, D) are kept with what their rounding lost.

Derivatives, with D = sum_j r_j d_j:

    d_k = dv/dr_k = p_k (mu_k - v) / tau       dv/dtau = -D / tau
    e_k = dv/dl_k = r_k (d_k - D)              (times s_k for "paper")
    dv/dw = -sum_k e_k (w - mu_k) / gamma_k^2  dv/dmu_k = p_k + e_k (w - mu_k) / gamma_k^2
    dv/dlog pi_k = e_k                         dv/dgamma_k = e_k ((w - mu_k)^2 / gamma_k^2 - 1) / gamma_k
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from keras import ops

from dgms_keras.backend_ops import bitcast, float64_scope, put

# The least gamma and tau that the formulas see; below its floor a parameter's gradient is zero.
GAMMA_FLOOR = 1e-12
TAU_FLOOR = 1e-6

_LOG2_E = math.log2(math.e)
# A weight further from 0 than this many times the mixture's extent, max |mu| + max gamma, counts as being there: all that can
# change beyond is the rounding of float64.
_FAR = 1e6
# log posterior (base 2) of a component with pi = 0: below every other at any float32 weight.
_NEVER = -1e300
# Elements of a `[K, ...]` intermediate: 512 KiB each, a handful of them in a second-level cache.
_BLOCK_ELEMENTS = 1 << 17
_LEAST_BLOCK = 512

# (2^f - 1) / f for |f| <= 1/2: minimax in relative error, 1e-8, fitted by weighted least squares on Chebyshev nodes.
_EXP2_COEFFICIENTS = (
    0.6931471824645996,
    0.24022649228572845,
    0.05550357326865196,
    0.009618237614631653,
    0.0013390735257416964,
    0.0001540354423923418,
)


class Parameters(NamedTuple):
    """Mixtures prepared for blocks; all `[K, G, 1]` (`tau` and `limit` `[G, 1]`), for one group `[K, 1]` (`[1]`): the component first,
    so that sums over the components add whole rows. XLA's code for `[K, n]` blocks is better than for `[K, 1, n]`."""

    mu: Any
    inverse_gamma: Any
    tau: Any
    limit: Any  # weights are clipped to +-limit, see `_FAR`
    # l_k in base 2 is (square * w + linear) * w + constant; float64.
    square: Any
    linear: Any
    constant: Any


def prepare(mu: Any, pi: Any, gamma: Any, tau: Any) -> Parameters:
    """Coefficients of the log posteriors. `mu`, `pi`, `gamma`: float32 `[G, K]`; `tau`: float32 `[G]`."""

    def columns(x: Any) -> Any:
        return ops.expand_dims(ops.transpose(x), -1)

    gamma = ops.maximum(gamma, GAMMA_FLOOR)
    with float64_scope():
        mu64, gamma64, pi64 = (ops.cast(x, "float64") for x in (mu, gamma, ops.abs(pi)))
        share = pi64 / ops.maximum(ops.sum(pi64, axis=-1, keepdims=True), 1e-300)
        square = -0.5 * _LOG2_E / (gamma64 * gamma64)
        log_share = ops.where(share > 0, ops.log(ops.maximum(share, 1e-300)) * _LOG2_E, _NEVER)
        constant = log_share - ops.log(gamma64) * _LOG2_E + square * mu64 * mu64
        linear = -2.0 * square * mu64
        square, linear, constant = columns(square), columns(linear), columns(constant)
    tau = ops.expand_dims(ops.maximum(tau, TAU_FLOOR), -1)
    limit = _FAR * (ops.max(ops.abs(mu), axis=-1, keepdims=True) + ops.max(gamma, axis=-1, keepdims=True))
    p = Parameters(columns(mu), columns(1.0 / gamma), tau, limit, square, linear, constant)
    if mu.shape[0] > 1:
        return p
    with float64_scope():  # one group loses its axis
        return Parameters(*(ops.reshape(x, (*x.shape[:-2], 1)) for x in p))


def log_posterior(w: Any, p: Parameters) -> Any:
    """l_k in base 2, float64 `[K, *w.shape]`. To be called, and its result used, in a `float64_scope`."""
    w = ops.expand_dims(ops.cast(ops.clip(w, -p.limit, p.limit), "float64"), 0)
    return (p.square * w + p.linear) * w + p.constant


def _exp2_parts(y: Any) -> tuple[Any, Any]:
    """(2^f - 1, 2^n) with y = n + f, n whole, |f| <= 1/2, for y <= 127; what is below 2^-126 comes out as that."""
    y = ops.maximum(y, -126.0)
    whole = ops.round(y)
    f = y - whole
    q = _EXP2_COEFFICIENTS[-1]
    for c in _EXP2_COEFFICIENTS[-2::-1]:
        q = q * f + c
    # Adding 1.5 * 2^23 leaves `whole` in the low bits; moved to the exponent's place it makes 2^whole.
    bits = bitcast(whole + 12582912.0, "int32") + 127
    return f * q, bitcast(bits * (1 << 23), "float32")


# Both results end in a sum of two products, not in a bit operation: XLA writes such a value to memory once where several sums
# read it, instead of computing it again in each of them.
def _exp2(y: Any) -> Any:
    q, scale = _exp2_parts(y)
    return q * scale + scale


def _exp2_coded(y: Any) -> Any:
    """2^y for y <= 0 in one number that keeps small relative error in 2^y as well as in 2^y - 1: the former where it is below
    1/2, else the latter (which is <= 0). `_ratio` and `_less_1` read it."""
    q, scale = _exp2_parts(y)
    return ops.where(y < -1.0, q * scale + scale, q * scale + (scale - 1.0))


def _ratio(coded: Any) -> Any:
    return ops.where(coded > 0, coded, coded + 1.0)


def _less_1(coded: Any) -> Any:
    return ops.where(coded > 0, coded - 1.0, coded)


def _over_components(x: Any) -> Any:
    """Sum over the first axis; in two steps where it is long, so that fewer roundings follow one another."""
    count = x.shape[0]
    inner = next((d for d in range(16, 3, -1) if count % d == 0), 1) if count > 32 else 1
    if inner > 1:
        x = ops.sum(ops.reshape(x, (count // inner, inner, *x.shape[1:])), axis=1)
    return ops.sum(x, axis=0)


class _Assigned(NamedTuple):
    """Eq. 6 to 8 for a block; `[K, g, n]`, sums over k `[g, n]`."""

    odds: Any  # r_k / r_m, as `_exp2_coded`
    odds_sum: Any  # 1 / r_m
    density: Any  # s_k for "paper", else None
    weight: Any  # p_k / p_m
    weight_sum: Any  # 1 / p_m
    value: Any  # v, rounded
    rest: Any  # what the rounding took from v
    differences: tuple[Any, ...]  # scratch for the next block


def _differences_of(w: Any, p: Parameters, posterior: str) -> tuple[Any, ...]:
    """l_k - l_m in base 2, `[K, *w.shape]`; and for "paper" log2 s_m in a whole and a fractional part, `[*w.shape]`."""
    with float64_scope():
        score = log_posterior(w, p)
        best = ops.max(score, axis=0)
        difference = ops.cast(score - best, "float32")
        if posterior == "mixture":
            return (difference,)
        log_density = best - math.log2(math.sqrt(2 * math.pi))
        log_density = ops.minimum(ops.maximum(log_density, -126.0), 126.0)
        whole = ops.round(log_density)
        return difference, ops.cast(log_density - whole, "float32"), ops.cast(whole, "float32")


def _scratch(shape: tuple[int, ...], components: int, posterior: str) -> tuple[Any, ...]:
    """Memory for the `_differences` of blocks of a shape."""
    shapes = [(components, *shape), shape, shape][: 1 if posterior == "mixture" else 3]
    return tuple(ops.zeros(s, "float32") for s in shapes)


def _differences(w: Any, p: Parameters, posterior: str, scratch: tuple[Any, ...]) -> tuple[Any, ...]:
    """`_differences_of`, in a loop over two halves of the block: XLA fuses across everything but a loop, and without it would
    compute the differences again, in float64, for each of the sums that read them; in a loop with float64 it also computes with
    float32 half as fast, so that what follows is left outside."""
    size, lead = w.shape[-1], (0,) * (len(w.shape) - 1)
    if size < 2 * _LEAST_BLOCK:
        return _differences_of(w, p, posterior)
    half = (size + 1) // 2

    def step(i: Any, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        at = i * (size - half)
        part = _differences_of(ops.slice(w, (*lead, at), (*w.shape[:-1], half)), p, posterior)
        return tuple(put(whole, (0,) * (len(whole.shape) - 1) + (at,), x) for whole, x in zip(carry, part, strict=True))

    return ops.fori_loop(0, 2, step, scratch)


def _odds(differences: tuple[Any, ...]) -> tuple[Any, Any]:
    """r_k / r_m as `_exp2_coded`, and for "paper" s_k."""
    difference, *log_density = differences
    odds = _exp2_coded(difference)
    if not log_density:
        return odds, None
    part, whole = log_density
    scale = _exp2(whole) * _exp2(part)  # s_m; in two factors, because float32 cannot hold both parts of the logarithm
    return _exp2_coded(_less_1(odds) * (scale * _LOG2_E)), _ratio(odds) * scale


def _assign(w: Any, p: Parameters, posterior: str, scratch: tuple[Any, ...] | None = None) -> _Assigned:
    if scratch is None:
        scratch = _scratch(w.shape, p.mu.shape[0], posterior)
    differences = _differences(w, p, posterior, scratch)
    odds, density = _odds(differences)
    odds_sum = _over_components(_ratio(odds))
    weight = _exp2(_less_1(odds) * (_LOG2_E / (odds_sum * p.tau)))
    weight_sum = _over_components(weight)
    value = _over_components(weight * p.mu) / weight_sum
    rest = _over_components(weight * (p.mu - value)) / weight_sum
    return _Assigned(odds, odds_sum, density, weight, weight_sum, value, rest, differences)


def block_responsibilities(w: Any, p: Parameters, posterior: str) -> Any:
    """r_k, `[K, g, n]`."""
    a = _assign(w, p, posterior)
    return _ratio(a.odds) / a.odds_sum


def _gradients(w: Any, g: Any, p: Parameters, a: _Assigned) -> tuple[Any, Any, Any]:
    """(dw, the shape of w; sums over n of g dv/dmu, g dv/dlog pi, g dv/dlog gamma `[3, K, g]`; of -g dv/dlog tau `[g]`)."""
    odds, less_1 = _ratio(a.odds), _less_1(a.odds)
    scale = 1.0 / (a.weight_sum * p.tau)
    to_value = a.weight * ((p.mu - a.value) - a.rest)
    d = to_value * scale
    # D, the mean of d_k under r, and what its rounding took from it: where one r_k is nearly 1, d_k - D is a small difference.
    mean = _over_components(odds * d) / a.odds_sum
    rest = _over_components(odds * (d - mean)) / a.odds_sum
    e = odds * (((d - mean) - rest) * (g / a.odds_sum))
    # D once more, for tau, to small relative error also where the leading r_k are nearly equal: the d_k sum to 0, so r_k may be
    # taken relative to its mean under p.
    mean_odds = _over_components(a.weight * less_1) / a.weight_sum
    tau_slope = _over_components((less_1 - mean_odds) * to_value) * scale / a.odds_sum
    if a.density is not None:
        e = e * a.density
    z = (ops.expand_dims(ops.clip(w, -p.limit, p.limit), 0) - p.mu) * p.inverse_gamma
    slope = e * z * p.inverse_gamma
    dw = -_over_components(slope)

    def over_n(x: Any) -> Any:
        # As a matrix-vector product, which XLA vectorises; a sum along the last axis it does not.
        return ops.matmul(x, ops.ones((x.shape[-1],), "float32"))

    d_mu = over_n(a.weight * (g / a.weight_sum) + slope)
    d_log_pi = over_n(e)
    d_log_gamma = over_n(e * z * z) - d_log_pi
    return dw, ops.stack([d_mu, d_log_pi, d_log_gamma]), over_n(g * tau_slope)


class _Grid(NamedTuple):
    """Blocks that cover `[G, n]`, or `[n]` for one group; where a side does not divide evenly the last block overlaps the one
    before."""

    groups: int
    size: int
    block: tuple[int, int]
    counts: tuple[int, int]

    @classmethod
    def over(cls, shape: tuple[int, ...], components: int) -> _Grid:
        groups, size = (1, *shape)[-2:]
        target = max(_LEAST_BLOCK, _BLOCK_ELEMENTS // components)
        if size > target:
            columns = next((c for c in range(target, target // 2, -1) if size % c == 0), target)
            block = (1, columns)
        else:
            block = (min(groups, max(1, target // max(size, 1))), size)
        return cls(groups, size, block, (-(-groups // block[0]), -(-size // block[1])))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.block[1:] if self.groups == 1 else self.block

    def place(self, i: Any) -> tuple[tuple[Any, ...], Any]:
        """Where block i starts, and None or a mask, in the block's shape, of what no earlier block covers."""
        (rows, columns), (_, across) = self.block, self.counts
        if self.groups == 1:
            second = i * columns
            column = ops.minimum(second, self.size - columns)
            fresh = None if self.size % columns == 0 else ops.arange(columns, dtype="int32") + column >= second
            return (column,), fresh
        first, second = (i // across) * rows, (i % across) * columns
        row, column = ops.minimum(first, self.groups - rows), ops.minimum(second, self.size - columns)
        if self.groups % rows == 0 and self.size % columns == 0:
            return (row, column), None
        fresh_row = ops.expand_dims(ops.arange(rows, dtype="int32") + row >= first, 1)
        fresh_column = ops.expand_dims(ops.arange(columns, dtype="int32") + column >= second, 0)
        return (row, column), ops.logical_and(fresh_row, fresh_column)

    def cut(self, x: Any, at: tuple[Any, ...]) -> Any:
        return ops.slice(x, at, self.shape)

    def parameters(self, p: Parameters, at: tuple[Any, ...]) -> Parameters:
        rows = self.block[0]
        if rows == self.groups:
            return p
        zero = ops.zeros_like(at[0])  # JAX wants all starts in one integer type, and has another one in the scope
        with float64_scope():
            return Parameters(
                *(ops.slice(x, (zero,) * (len(x.shape) - 2) + (at[0], zero), (*x.shape[:-2], rows, 1)) for x in p)
            )

    def steps(self, count: Any) -> Any:
        """How many blocks there are, or how many hold the first `count` weights."""
        return self.counts[0] * self.counts[1] if count is None else (count + (self.block[1] - 1)) // self.block[1]


def _put_halves(buffer: Any, at: tuple[Any, ...], block: Any) -> Any:
    """`put`, one half after the other. XLA would fuse the sum over the components that makes `block` into a single copy, and
    vectorises that badly; what two copies read it computes first."""
    half = block.shape[-1] // 2
    if half == 0:
        return put(buffer, at, block)
    buffer = put(buffer, at, block[..., :half])
    return put(buffer, (*at[:-1], at[-1] + half), block[..., half:])


def forward(w: Any, p: Parameters, count: Any, posterior: str) -> Any:
    """Soft weights, the shape of `w`.

    Args:
        w: float32 `[G, n]`, or `[n]` for one group; not empty.
        p: from `prepare`.
        count: None, or how many of the weights matter (one group only): blocks behind them are left out.
        posterior: see `mixture`.
    """
    grid = _Grid.over(w.shape, p.mu.shape[0])
    if grid.counts == (1, 1):
        return _assign(w, p, posterior).value

    def step(i: Any, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        out, *scratch = carry
        at, _ = grid.place(i)
        a = _assign(grid.cut(w, at), grid.parameters(p, at), posterior, tuple(scratch))
        return _put_halves(out, at, a.value), *a.differences

    start = (ops.zeros_like(w), *_scratch(grid.shape, p.mu.shape[0], posterior))
    return ops.fori_loop(0, grid.steps(count), step, start)[0]


def backward(w: Any, upstream: Any, p: Parameters, count: Any, posterior: str) -> tuple[Any, Any, Any]:
    """The gradient with respect to `w`, and the sums from which `parameter_gradients` makes the others.

    Args:
        w, p, count, posterior: as for `forward`.
        upstream: float32, the shape of `w`.
    """
    grid = _Grid.over(w.shape, p.mu.shape[0])
    groups, components = grid.groups, p.mu.shape[0]
    lead = () if groups == 1 else (groups,)

    def step(i: Any, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        dw, sums, tau_sums, *scratch = carry
        at, fresh = grid.place(i)
        g = grid.cut(upstream, at)
        # What an earlier block covered already must not be summed again, and keeps its gradient.
        weighted = g if fresh is None else ops.where(fresh, g, 0.0)
        cut, parameters = grid.cut(w, at), grid.parameters(p, at)
        a = _assign(cut, parameters, posterior, tuple(scratch))
        block, more, more_tau = _gradients(cut, weighted, parameters, a)
        if fresh is not None:
            block = ops.where(fresh, block, grid.cut(dw, at))
        dw = _put_halves(dw, at, block)
        rows = grid.block[0]
        if rows == groups:
            return dw, sums + more, tau_sums + more_tau, *a.differences
        row = at[0]
        sums = put(sums, (0, 0, row), ops.slice(sums, (0, 0, row), (3, components, rows)) + more)
        tau_sums = put(tau_sums, (row,), ops.slice(tau_sums, (row,), (rows,)) + more_tau)
        return dw, sums, tau_sums, *a.differences

    if grid.counts == (1, 1):
        return _gradients(w, upstream, p, _assign(w, p, posterior))
    start = (ops.zeros_like(w), ops.zeros((3, components, *lead), "float32"), ops.zeros(lead, "float32"))
    start += _scratch(grid.shape, components, posterior)
    return ops.fori_loop(0, grid.steps(count), step, start)[:3]


def parameter_gradients(sums: Any, tau_sums: Any, pi: Any, gamma: Any, tau: Any) -> tuple[Any, Any, Any, Any]:
    """Gradients with respect to mu, pi, gamma `[G, K]` and tau `[G]`: from the logarithms of pi, gamma and tau to themselves,
    with the normalisation of pi and the floors."""
    groups, components = pi.shape
    sums = ops.reshape(sums, (3, components, groups))
    d_mu, d_log_pi, d_log_gamma = (ops.transpose(sums[i]) for i in range(3))
    size = ops.abs(pi)
    total = ops.maximum(ops.sum(size, axis=-1, keepdims=True), 1e-37)
    d_pi = d_log_pi / ops.maximum(size, 1e-37) - ops.sum(d_log_pi, axis=-1, keepdims=True) / total
    d_pi = ops.where(size > 0, ops.sign(pi) * d_pi, 0.0)
    d_gamma = ops.where(gamma > GAMMA_FLOOR, d_log_gamma / ops.maximum(gamma, GAMMA_FLOOR), 0.0)
    tau_sums = ops.reshape(tau_sums, tau.shape)
    d_tau = ops.where(tau > TAU_FLOOR, -tau_sums / ops.maximum(tau, TAU_FLOOR), 0.0)
    return d_mu, d_pi, d_gamma, d_tau
