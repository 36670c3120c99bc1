"""Convolutions in float64 NumPy: the oracle of the delegate's tests. Written for clearness, not speed."""

from __future__ import annotations

import numpy as np

EPSILON = float(np.finfo(np.float32).eps)


def pads(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int, int]:
    """Output size, padding in front and padding behind; SAME puts an odd extra pixel behind."""
    effective = (kernel - 1) * dilation + 1
    if padding == "VALID":
        return (size + stride - effective) // stride, 0, 0
    output = -(-size // stride)
    total = max((output - 1) * stride + effective - size, 0)
    return output, total // 2, total - total // 2


def conv2d(
    x: np.ndarray, w: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int], padding: str
) -> np.ndarray:
    """x `[n, h, w, cin]`, w OHWI with cin / groups input channels; groups follow from the shapes."""
    n, height, width, channels = x.shape
    out_channels, kh, kw, group_in = w.shape
    groups = channels // group_in
    group_out = out_channels // groups
    out_h, top, bottom = pads(height, kh, stride[0], dilation[0], padding)
    out_w, left, right = pads(width, kw, stride[1], dilation[1], padding)
    padded = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros((n, out_h, out_w, out_channels))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dilation[0], i * dilation[0] + (out_h - 1) * stride[0] + 1, stride[0])
            columns = slice(j * dilation[1], j * dilation[1] + (out_w - 1) * stride[1] + 1, stride[1])
            tap = padded[:, rows, columns]
            for g in range(groups):
                outs = slice(g * group_out, (g + 1) * group_out)
                y[..., outs] += tap[..., g * group_in : (g + 1) * group_in] @ w[outs, i, j].astype(np.float64).T
    return y


def depthwise_conv2d(
    x: np.ndarray, w: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int], padding: str
) -> np.ndarray:
    """x `[n, h, w, c]`, w `[1, kh, kw, c * multiplier]`."""
    multiplier = w.shape[3] // x.shape[3]
    ohwi = np.moveaxis(w, 3, 0).reshape(w.shape[3], w.shape[1], w.shape[2], 1)  # one input channel per group
    assert ohwi.shape[0] == x.shape[3] * multiplier
    return conv2d(x, ohwi, stride, dilation, padding)


def activate(y: np.ndarray, activation: str) -> np.ndarray:
    low, high = {
        "none": (-np.inf, np.inf),
        "relu": (0.0, np.inf),
        "relu6": (0.0, 6.0),
        "relu_n1_to_1": (-1.0, 1.0),
    }[activation]
    return np.clip(y, low, high)
