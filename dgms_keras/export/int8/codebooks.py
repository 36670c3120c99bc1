"""A weight's float codebook and factors -> int8 codebooks, a scale per channel, int32 biases. NumPy only.

A channel's weights are `s_c * mu[code]`, with s_c the factor that BatchNorm left. In int8 they are `scale_c * q[code]` with
`q = round(mu / s)` for all channels and `scale_c = s * |s_c|`: the sign of s_c cannot be in a scale, which TFLite wants positive,
so channels with a negative factor read the codebook -q, and channels whose factor is 0 read zeros.

All weights with one code share its rounding error, so under activations with a mean (after ReLU they have one) the errors add up
instead of cancelling out. Two remedies: s is searched, and the mean of what remains is put into the bias (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dgms_keras.export.chain_writer import EncodedWeight
from dgms_keras.export.int8.options import Int8Options
from dgms_keras.export.match import Match

# The largest code of a symmetric int8 weight: -128 is never used.
LIMIT = 127
# Scales that are tried: the largest magnitude of the codebook lands between these, clipped above LIMIT.
_SEARCH = np.linspace(LIMIT / 2, LIMIT * 1.5, 2048)
# How often a scale is fitted to the roundings it causes; two steps are enough for most codebooks.
_FITS = 4
# A bias must stay this far inside int32, so that products can be added to it.
_LARGEST_BIAS = 2.0**30
# Below this factor from accumulator to output not even the largest accumulator reaches one step of the output.
_SMALLEST_MULTIPLIER = 2.0**-31
# Bias of a channel without weights: large enough to be exact, small enough for any multiplier.
_IDLE_BIAS = 2.0**20


@dataclasses.dataclass(frozen=True, eq=False)
class Int8Layer:
    """The weight and the bias of one int8 operator.

    Args:
        weight: codes and int8 codebook.
        scale: float32 `[channels]`, > 0: the weight's quantisation.
        channel_axis: the dimension of the weight's channels.
        bias: int32 `[channels]` at input scale * `scale`; None where the operator has none and needs none.
        input_scale: of the operator's input.
    """

    weight: EncodedWeight
    scale: np.ndarray
    channel_axis: int
    bias: np.ndarray | None
    input_scale: float

    @property
    def bias_scale(self) -> np.ndarray:
        """float32 `[channels]`."""
        return (np.float64(self.input_scale) * self.scale.astype(np.float64)).astype(np.float32)

    def integers(self) -> np.ndarray:
        """int8: what the chain decodes to."""
        return self.weight.decode()

    def values(self) -> np.ndarray:
        """float64: the weights that the operator computes with."""
        return self.integers() * along(self.scale.astype(np.float64), self.channel_axis, self.weight.codes.ndim)


def along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector as an array that is broadcast along all dimensions but one."""
    return values.reshape([-1 if d == axis else 1 for d in range(rank)])


def round_codebook(codebook: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """float64 integers from -127 to 127: `codebook / scale`, rounded."""
    return np.clip(np.rint(codebook / scale), -LIMIT, LIMIT)


def find_scale(codebook: np.ndarray, counts: np.ndarray, method: str = "mse") -> float:
    """The scale of an int8 codebook.

    Args:
        codebook: float64 `[codes]`.
        counts: how many weights have each code; codes that none has do not matter.
        method: `"max"`: the largest magnitude becomes 127. `"mse"`: the smallest sum of squared errors over all weights. Clipping
            the largest value is allowed where it pays.

    Returns:
        The scale, > 0 and normal in float32; 1 for a codebook of zeros.
    """
    used = counts > 0
    values, weights = codebook[used].astype(np.float64), counts[used].astype(np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    smallest = float(np.finfo(np.float32).tiny)
    if largest < smallest:
        return 1.0
    naive = max(largest / LIMIT, smallest)
    if method == "max":
        return naive
    candidates = np.concatenate([[naive], np.maximum(largest / _SEARCH, smallest)])
    for _ in range(_FITS):  # the best scale for given roundings is a weighted least-squares fit
        rounded = round_codebook(values, candidates[:, None])
        energy = (weights * rounded**2).sum(axis=1)
        fitted = (weights * values * rounded).sum(axis=1) / np.where(energy > 0, energy, 1.0)
        candidates = np.where((energy > 0) & (fitted >= smallest), fitted, candidates)
        candidates[0] = naive  # the plain choice is never lost
    candidates = candidates.astype(np.float32).astype(np.float64)
    errors = (weights * (values - candidates[:, None] * round_codebook(values, candidates[:, None])) ** 2).sum(axis=1)
    return float(candidates[int(errors.argmin())])


def quantize_layer(
    name: str,
    bits: int,
    match: Match,
    channel_axis: int,
    bias: np.ndarray | None,
    input_scale: float,
    output_scale: float,
    input_means: np.ndarray | None,
    options: Int8Options,
) -> Int8Layer:
    """The int8 form of one operator's weight and bias.

    Args:
        name: of the weight.
        bits: of its codes.
        match: its codes, codebook(s) and factors, in the operator's layout.
        channel_axis: the dimension of its output channels.
        bias: the float bias `[channels]`, or None.
        input_scale, output_scale: of the operator's activations.
        input_means: mean of the input that each weight is multiplied with, broadcastable to the weight; None if not known (then
            no bias is corrected).
        options: what to do.
    """
    rank, channels = match.codes.ndim, match.codes.shape[channel_axis]
    factors = np.ones(channels) if match.scale is None else match.scale.reshape(-1).astype(np.float64)
    group, books, units = _scaled_books(match, bits, options)
    channel_unit = units[_group_of_channels(group, channel_axis, channels)]
    scale = channel_unit * np.abs(factors)
    idle = _idle_channels(factors, scale, bias, input_scale, output_scale)
    signs = np.where(idle, 2, np.where(factors < 0, 1, 0))  # which codebook: q, -q, zeros
    rounded = round_codebook(books, units[:, None])
    offset, codebook = _choose_books(group, along(signs, channel_axis, rank), rounded, bits)
    weight = EncodedWeight(name, match.codes, bits, codebook, offset)
    layer = Int8Layer(weight, scale.astype(np.float32), channel_axis, None, input_scale)
    target = np.zeros(channels) if bias is None else bias.astype(np.float64)
    if options.bias_correction and input_means is not None:
        target = target + mean_error(layer, match, input_means)
    scale = np.where(
        idle, np.maximum(np.abs(target) / (input_scale * _IDLE_BIAS), output_scale / input_scale * 2**-20), scale
    )
    layer = dataclasses.replace(layer, scale=scale.astype(np.float32))
    steps = np.rint(target / (np.float64(input_scale) * layer.scale.astype(np.float64)))
    integers = np.clip(steps, -(2**31) + 1, 2**31 - 1).astype(np.int32)
    return dataclasses.replace(layer, bias=None if bias is None and not integers.any() else integers)


def _scaled_books(match: Match, bits: int, options: Int8Options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of each element's codebook (broadcastable), the float codebooks `[groups, codes]`, a scale for each."""
    codes_of = 2**bits
    books = match.codebook.astype(np.float64).reshape(-1, codes_of)
    group = np.zeros([1] * match.codes.ndim, np.int64) if match.offset is None else match.offset // codes_of
    counts = np.bincount((match.codes + codes_of * group).reshape(-1), minlength=books.size).reshape(books.shape)
    by_channel = sum(d > 1 for d in group.shape) <= 1
    if by_channel:
        units = np.array([find_scale(b, c, options.scale) for b, c in zip(books, counts, strict=True)])
    else:  # a channel has one scale: codebooks that vary inside a channel must share theirs
        units = np.full(len(books), find_scale(books.reshape(-1), counts.reshape(-1), options.scale))
    return group, books, units


def _group_of_channels(group: np.ndarray, axis: int, channels: int) -> np.ndarray:
    """A codebook that each channel reads."""
    first = np.moveaxis(group, axis, 0).reshape(group.shape[axis], -1)[:, 0]
    return np.broadcast_to(first, channels)


def _idle_channels(
    factors: np.ndarray, scale: np.ndarray, bias: np.ndarray | None, input_scale: float, output_scale: float
) -> np.ndarray:
    """Channels whose weights cannot move the output by one step, or are so small that the bias has no int32 at their scale."""
    with np.errstate(over="ignore", under="ignore"):
        too_small = input_scale * scale < _SMALLEST_MULTIPLIER * output_scale
        overflow = False if bias is None else np.abs(bias) > _LARGEST_BIAS * input_scale * scale
    return (factors == 0) | (scale < np.finfo(np.float32).tiny) | too_small | overflow


def _choose_books(
    group: np.ndarray, signs: np.ndarray, rounded: np.ndarray, bits: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Offsets and int8 codebooks, only those that are read; no offset for a single one."""
    groups, codes_of = rounded.shape
    books = np.concatenate([rounded, -rounded, np.zeros_like(rounded)])
    used, number = np.unique(group + groups * signs, return_inverse=True)
    codebook = books[used].reshape(-1).astype(np.int8)
    if len(used) == 1:
        return None, codebook
    shape = np.broadcast_shapes(group.shape, signs.shape)
    return (codes_of * number.reshape(shape)).astype(np.int32), codebook


def float_weight(match: Match) -> np.ndarray:
    """float64: the weights that codes, codebook and factors stand for."""
    index = match.codes.astype(np.int64) if match.offset is None else match.codes + match.offset
    values = match.codebook.astype(np.float64)[index]
    return values if match.scale is None else values * match.scale.astype(np.float64)


def mean_error(layer: Int8Layer, match: Match, input_means: np.ndarray) -> np.ndarray:
    """float64 `[channels]`: what the rounded weights take from the mean of each output channel."""
    axes = tuple(d for d in range(match.codes.ndim) if d != layer.channel_axis)
    return ((float_weight(match) - layer.values()) * input_means).sum(axis=axes)
