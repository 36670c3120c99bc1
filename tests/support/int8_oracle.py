"""TFLite's int8 arithmetic in NumPy integers: the oracle of the delegate's int8 tests.

Follows the published quantisation specification and the rounding of the reference kernels of TensorFlow 2.21 and
LiteRT 2.3, found by experiment and by reading them:
  - convolutions: a sum (int32) times a multiplier (31 fractional bits) is rounded once to an integer (half up), and once
    more when it is shifted right (half away from zero);
  - fully connected layers: a sum times the factor in double, rounded once (half away from zero).
tests/end_to_end compares this oracle with the runtime's own reference kernels, too.
"""

from __future__ import annotations

import math

import conv_oracle
import numpy as np

INT8 = (-128, 127)


def quantized_multiplier(real: float) -> tuple[int, int]:
    """(multiplier with 31 fractional bits, exponent) with real = multiplier / 2**31 * 2**exponent, rounded."""
    if real == 0:
        return 0, 0
    fraction, exponent = math.frexp(real)
    multiplier = math.floor(fraction * 2.0**31 + 0.5)  # half away from zero; real is positive
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, exponent)


def wrap32(x: np.ndarray) -> np.ndarray:
    """The low 32 bits of each element, as a signed number: what overflowing int32 arithmetic leaves."""
    return ((x + 2**31) % 2**32) - 2**31


def multiply(sums: np.ndarray, multiplier: int, exponent: int) -> np.ndarray:
    left, right = max(exponent, 0), max(-exponent, 0)
    product = wrap32(sums.astype(np.int64) << left) * np.int64(multiplier)
    high = (product + 2**30) >> 31
    if right == 0:
        return high
    magnitude = (np.abs(high) + (1 << (right - 1))) >> right
    return np.sign(high) * magnitude


def round_half_away(x: np.ndarray) -> np.ndarray:
    whole = np.trunc(x)
    return (whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)).astype(np.int64)


def activation_range(activation: str, scale: float, zero_point: int) -> tuple[int, int]:
    def quantized(value: float) -> int:
        ratio = float(np.float32(value) / np.float32(scale))
        return zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))

    low, high = INT8
    if activation in ("relu", "relu6"):
        low = max(low, quantized(0.0))
    if activation == "relu_n1_to_1":
        low = max(low, quantized(-1.0))
        high = min(high, quantized(1.0))
    if activation == "relu6":
        high = min(high, quantized(6.0))
    return low, high


def requantize(
    sums: np.ndarray,
    input_scale: float,
    filter_scales: np.ndarray,
    output_scale: float,
    output_zero_point: int,
    activation: str,
    fixed_point: bool,
) -> np.ndarray:
    """int8 outputs of sums `[..., channels]`.

    Args:
        fixed_point: as convolutions do; else as fully connected layers do.
    """
    low, high = activation_range(activation, output_scale, output_zero_point)
    result = np.empty(sums.shape, np.int8)
    scales = np.broadcast_to(np.asarray(filter_scales, np.float32), sums.shape[-1:])
    for c, scale in enumerate(scales):
        factor = float(np.float64(np.float32(input_scale)) * np.float64(scale) / np.float64(np.float32(output_scale)))
        wrapped = wrap32(sums[..., c])
        y = multiply(wrapped, *quantized_multiplier(factor)) if fixed_point else round_half_away(wrapped * factor)
        result[..., c] = np.clip(y + output_zero_point, low, high)
    return result


def sums(
    kind: str,
    x: np.ndarray,
    zero_point: int,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: str = "SAME",
) -> np.ndarray:
    """The int32 sums (as int64, not wrapped) of a layer; `kind` is conv, depthwise or dense."""
    centred = x.astype(np.int64) - zero_point
    if kind == "dense":
        result = centred.reshape(-1, weight.shape[1]) @ weight.astype(np.int64).T
    else:
        # Exact: float64 holds every integer of these sums (below 2**53).
        linear = conv_oracle.conv2d if kind == "conv" else conv_oracle.depthwise_conv2d
        result = np.rint(linear(centred, weight, stride, dilation, padding)).astype(np.int64)
    return result if bias is None else result + bias.astype(np.int64)
