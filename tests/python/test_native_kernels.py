"""The delegate's kernels through their Python bindings, against NumPy in float64.

The C++ tests (tests/cpp/kernels, tests/cpp/ops) go through every shape; these check what Python sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

native = pytest.importorskip("dgms_keras._native", reason="the bindings are not built (pip install -e .)")

ISAS = [entry["isa"] for entry in native.kernel_sets()]
EPSILON = np.finfo(np.float32).eps


def convolve(x: np.ndarray, w: np.ndarray, strides: tuple[int, int], groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """VALID convolution of NHWC with OHWI in float64, and sum|w x| of every output."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[1:3], axis=(1, 2))[:, :: strides[0], :: strides[1]]
    outputs = []
    for value, weight in ((windows, w), (np.abs(windows), np.abs(w))):
        parts = zip(np.split(value, groups, axis=3), np.split(weight, groups, axis=0), strict=True)
        outputs.append(np.concatenate([np.einsum("nhwcyx,oyxc->nhwo", v, p) for v, p in parts], axis=3))
    return outputs[0], outputs[1]


def random_case(bits: int, shape: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "codes": random.integers(0, 2**bits, shape).astype(np.uint8),
        "codebooks": random.standard_normal(2**bits).astype(np.float32),
        "scale": random.uniform(0.5, 2.0, shape[0]).astype(np.float32),
        "bias": random.standard_normal(shape[0]).astype(np.float32),
    }


def test_kernel_sets_name_one_best() -> None:
    sets = native.kernel_sets()
    assert "portable" in ISAS
    assert [entry["isa"] for entry in sets if entry["best"]] == [ISAS[-1]]
    assert all(entry["gemm"] and entry["depthwise"] for entry in sets)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d(isa: str, bits: int, groups: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, 11, 9, 8)).astype(np.float32)
    case = random_case(bits, (20, 3, 3, 8 // groups))
    y = native.conv2d(x, case.pop("codes"), case.pop("codebooks"), strides=(2, 1), groups=groups, isa=isa, **case)
    case = random_case(bits, (20, 3, 3, 8 // groups))
    exact, magnitude = convolve(x, case["codebooks"][case["codes"]], (2, 1), groups)
    assert y.dtype == np.float32
    # 4 eps sum|w x|: see tests/cpp/kernels/random_values.h.
    tolerance = 4 * EPSILON * (magnitude * case["scale"] + np.abs(case["bias"]))
    assert np.all(np.abs(y - (exact * case["scale"] + case["bias"])) <= tolerance)


@pytest.mark.parametrize("isa", ISAS)
def test_same_padding_is_zeros_around_the_input(isa: str) -> None:
    x = np.random.default_rng(1).standard_normal((1, 7, 6, 5)).astype(np.float32)
    case = random_case(4, (9, 4, 3, 5))
    padded = np.pad(x, ((0, 0), (1, 2), (1, 1), (0, 0)))  # 4 rows: one before, two after
    same = native.conv2d(x, case["codes"], case["codebooks"], padding="same", isa=isa)
    assert np.array_equal(same, native.conv2d(padded, case["codes"], case["codebooks"], isa=isa))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_is_a_grouped_convolution(isa: str, multiplier: int) -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal((1, 8, 8, 6)).astype(np.float32)
    codes = random.integers(0, 16, (3, 3, 6 * multiplier)).astype(np.uint8)
    codebook = random.standard_normal(16).astype(np.float32)
    y = native.depthwise_conv2d(x, codes, codebook, activation="relu6", isa=isa)
    exact, magnitude = convolve(x, np.moveaxis(codebook[codes], 2, 0)[..., None], (1, 1), groups=6)
    assert np.all(np.abs(y - np.clip(exact, 0, 6)) <= 4 * EPSILON * magnitude)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("batch", [1, 5])
def test_fully_connected_with_a_codebook_per_group(isa: str, batch: int) -> None:
    random = np.random.default_rng(3)
    x = random.standard_normal((batch, 70)).astype(np.float32)
    codes = random.integers(0, 8, (50, 70)).astype(np.uint8)
    codebooks = random.standard_normal((7, 8)).astype(np.float32)  # ceil(50 / 8) groups
    y = native.fully_connected(x, codes, codebooks, group_size=8, isa=isa)
    weights = np.take_along_axis(codebooks[np.arange(50) // 8], codes.astype(int), axis=1).astype(np.float64)
    assert np.all(np.abs(y - x @ weights.T) <= 4 * EPSILON * (np.abs(x) @ np.abs(weights).T))


@pytest.mark.parametrize("isa", ISAS)
def test_threads_do_not_change_a_bit(isa: str) -> None:
    x = np.random.default_rng(1).standard_normal((1, 30, 30, 16)).astype(np.float32)
    case = random_case(4, (48, 3, 3, 16))
    results = [native.conv2d(x, isa=isa, num_threads=n, padding="same", **case) for n in (1, 2, 3, 8)]
    assert all(result.tobytes() == results[0].tobytes() for result in results)


@pytest.mark.parametrize("isa", ISAS)
def test_packing_round_trip(isa: str) -> None:
    random = np.random.default_rng(4)
    table = np.arange(16, dtype=np.float32)
    for columns, places in ((1, 1), (3, 9), (8, 256)):
        codes = random.integers(0, 16, (columns, places)).astype(np.uint8)
        packed = native.pack_panel(codes, isa)
        assert np.array_equal(native.decode_panel(packed, places, columns, table, isa), codes.T)


def test_errors_say_what_was_received() -> None:
    x = np.zeros((1, 5, 5, 4), np.float32)
    case = random_case(4, (6, 3, 3, 4))
    codes, codebook = case["codes"], case["codebooks"]
    with pytest.raises(ValueError, match=r"4, 8 or 16 entries. Received: shape \(5,\)"):
        native.conv2d(x, codes, codebook[:5])
    with pytest.raises(ValueError, match="Received: isa='sse9'"):
        native.conv2d(x, codes, codebook, isa="sse9")
    with pytest.raises(ValueError, match="Received: padding='full'"):
        native.conv2d(x, codes, codebook, padding="full")
    with pytest.raises(ValueError, match="Received: activation='tanh'"):
        native.conv2d(x, codes, codebook, activation="tanh")
    with pytest.raises(ValueError, match=r"`scale` must have shape \(6,\)"):
        native.conv2d(x, codes, codebook, scale=np.ones(7, np.float32))
    with pytest.raises(ValueError, match=r"`codes` must be below 8.*Received: 1"):
        native.conv2d(x, codes, codebook[:8])
    with pytest.raises(ValueError, match="invalid sizes"):
        native.conv2d(x, codes, codebook, strides=(0, 1))
    with pytest.raises(TypeError):  # codes are not converted: -1 or 300 must not become one
        native.conv2d(x, codes.astype(np.int32), codebook)
