"""Finding a frozen weight again by value: layouts, folded factors, channel groups, and what must not be found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from dgms_files import freeze_array
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.export import match as matching
from dgms_keras.frozen import FrozenWeight


def make(shape, bits=4, seed=0, group_size=None, axes=(-1,)):
    rng = np.random.default_rng(seed)
    return freeze_array("layer", "kernel", rng.normal(size=shape).astype(np.float32), bits, rng, axes, group_size)


def decode(match: matching.Match) -> np.ndarray:
    """The oracle of what the file will compute, in float32 as the runtime does."""
    index = match.codes.astype(int) + (0 if match.offset is None else match.offset)
    values = match.codebook[index]
    return values if match.scale is None else values * match.scale


def fold(dense: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """filter' = fl(s_c * filter) in OHWI from HWIO, as the converter folds BatchNorm."""
    return (dense.transpose(3, 0, 1, 2) * factors[:, None, None, None]).astype(np.float32)


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple),
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
@settings(deadline=None, max_examples=150)
def test_any_layout_is_found_bit_exactly_without_a_factor(shape, bits, seed, data):
    weight = make(shape, bits, seed)
    order = data.draw(st.permutations(range(len(shape))))
    values = np.ascontiguousarray(weight.dense().transpose(order))
    merged = values.reshape(-1, values.shape[-1]) if data.draw(st.booleans()) else values
    match = matching.find(weight, merged, 0)
    assert match is not None and match.scale is None and match.deviation == 0
    np.testing.assert_array_equal(decode(match), merged)


@given(
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 10**6),
    channels=st.integers(2, 9),
    kinds=st.lists(st.sampled_from(["plain", "negative", "zero", "large", "small", "one"]), min_size=9, max_size=9),
)
@settings(deadline=None, max_examples=150)
def test_folded_factors_are_recovered_bit_exactly(bits, seed, channels, kinds):
    weight = make((3, 2, 4, channels), bits, seed)
    rng = np.random.default_rng(seed)
    scales = {"plain": 1, "negative": -1, "zero": 0, "large": 1e20, "small": 1e-20, "one": None}
    factors = np.array(
        [1 if scales[k] is None else scales[k] * rng.uniform(0.1, 3) for k in kinds[:channels]], np.float32
    )
    values = fold(weight.dense(), factors)
    match = matching.find(weight, values, 0)
    assert match is not None and match.deviation == 0
    # Bit for bit; a product with 0 may be -0 on either side, which no operator tells apart from 0.
    np.testing.assert_array_equal(decode(match), values)


def test_denormal_factors_stay_within_one_denormal():
    weight = make((3, 3, 4, 5))
    factors = np.float32([1e-40, 3e-42, 1e-38, -2e-39, 1.0])
    values = fold(weight.dense(), factors)
    match = matching.find(weight, values, 0)
    assert match is not None
    # A denormal product has absolute, not relative, precision: the smallest float32 is 1.4e-45.
    np.testing.assert_allclose(decode(match), values, rtol=0, atol=1.5e-45)


def test_two_factors_in_a_row_stay_within_the_tolerance():
    weight = make((3, 3, 8, 16))
    rng = np.random.default_rng(1)
    once = fold(weight.dense(), rng.uniform(0.5, 2, 16).astype(np.float32))
    twice = (once * rng.uniform(0.5, 2, 16).astype(np.float32)[:, None, None, None]).astype(np.float32)
    match = matching.find(weight, twice, 0)
    assert match is not None and 0 < match.deviation <= matching.RELATIVE_TOLERANCE
    np.testing.assert_allclose(decode(match), twice, rtol=matching.RELATIVE_TOLERANCE)


def test_channels_without_weights_have_the_factor_one():
    weight = make((3, 3, 4, 5))
    codes = weight.indices.copy()
    codes[..., 2] = 0
    weight = FrozenWeight("layer", "kernel", codes, weight.codebook, 4)
    values = fold(weight.dense(), np.float32([2, 3, 5, -7, 0.1]))
    match = matching.find(weight, values, 0)
    assert match is not None and match.scale is not None and match.scale[2] == 1
    np.testing.assert_array_equal(decode(match), values)


def test_dead_channels_are_counted():
    weight = make((3, 3, 4, 5))
    match = matching.find(weight, fold(weight.dense(), np.float32([2, 0, 5, 0, 0.1])), 0)
    assert match is not None and match.dead == 2


def test_one_factor_for_all_channels_goes_into_the_codebook():
    weight = make((3, 3, 4, 5))
    values = fold(weight.dense(), np.full(5, 0.37, np.float32))
    match = matching.find(weight, values, 0)
    assert match is not None and match.scale is None and match.deviation == 0
    np.testing.assert_array_equal(decode(match), values)


def test_all_zero_weight():
    weight = FrozenWeight("layer", "kernel", np.zeros((3, 4), np.uint8), np.zeros(4, np.float32), 2)
    match = matching.find(weight, np.zeros((4, 3), np.float32), 0)
    assert match is not None and match.scale is None
    assert matching.find(weight, np.ones((4, 3), np.float32), 0) is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_layers_in_half_precision(dtype):
    weight = make((3, 3, 4, 8))
    if dtype == "float16":
        rounded = weight.dense().astype(np.float16).astype(np.float32)
    else:
        import ml_dtypes

        rounded = weight.dense().astype(ml_dtypes.bfloat16).astype(np.float32)
    values = fold(rounded, np.linspace(0.5, 1.5, 8).astype(np.float32))
    match = matching.find(weight, values, 0)
    assert match is not None and match.deviation == 0
    np.testing.assert_array_equal(decode(match), values)


@given(seed=st.integers(0, 10**6), bits=st.sampled_from([2, 3, 4]), group_size=st.integers(1, 6), folded=st.booleans())
@settings(deadline=None, max_examples=80)
def test_channel_groups(seed, bits, group_size, folded):
    weight = make((3, 2, 4, 5), bits, seed, group_size)
    factors = np.random.default_rng(seed).uniform(0.5, 2, 5).astype(np.float32) if folded else np.ones(5, np.float32)
    values = fold(weight.dense(), factors)
    match = matching.find(weight, values, 0)
    assert match is not None and match.offset is not None and match.deviation == 0
    assert match.offset.size <= 5  # along the output channels only
    np.testing.assert_array_equal(decode(match), values)


def test_channel_groups_of_a_depthwise_kernel_with_multiplier():
    weight = make((3, 3, 4, 2), 4, 0, 3, axes=(-2, -1))
    values = weight.dense().reshape(1, 3, 3, 8)
    match = matching.find(weight, values, 3)
    assert match is not None and match.offset is not None and match.offset.shape == (1, 1, 1, 8)
    np.testing.assert_array_equal(match.offset.reshape(-1), 16 * (np.arange(8) // 3))
    np.testing.assert_array_equal(decode(match), values)


@given(seed=st.integers(0, 10**6), bits=st.sampled_from([2, 3, 4]), rows=st.integers(3, 12), columns=st.integers(3, 12))
@settings(deadline=None, max_examples=80)
def test_factors_of_input_channels(seed, bits, rows, columns):
    """A BatchNorm before a fully connected layer, alone and together with one behind it."""
    weight = make((columns, rows), bits, seed)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], columns)
    inputs = (rng.uniform(0.1, 3, columns) * signs).astype(np.float32)
    inputs[rng.integers(columns)] = rng.choice([0, 1])
    once = (weight.dense().T * inputs).astype(np.float32)
    match = matching.find(weight, once, 0, 1)
    assert match is not None and match.deviation == 0
    factors = np.ones(columns, np.float32) if match.input_scale is None else match.input_scale
    np.testing.assert_array_equal(decode(match) * factors, once)

    outputs = rng.uniform(0.1, 3, rows).astype(np.float32)
    outputs[rng.integers(rows)] = rng.choice([0, -1])
    both = (once * outputs[:, None]).astype(np.float32)
    match = matching.find(weight, both, 0, 1)
    assert match is not None
    factors = np.ones(columns, np.float32) if match.input_scale is None else match.input_scale
    # Two products and two recovered factors, each within RELATIVE_TOLERANCE.
    np.testing.assert_allclose(decode(match) * factors, both, rtol=4 * matching.RELATIVE_TOLERANCE, atol=0)


def test_factors_of_both_sides_do_not_explain_just_anything():
    weight = make((8, 6))
    values = weight.dense().T.copy()
    values[2, 3] += 0.5
    assert matching.find(weight, values, 0, 1) is None
    assert matching.find(weight, np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32), 0, 1) is None


def test_what_is_not_the_weight_is_not_found():
    weight = make((3, 3, 4, 8))
    values = weight.dense().transpose(3, 0, 1, 2).copy()
    assert matching.find(weight, values[:, :, :, :3], 0) is None  # another size
    changed = values.copy()
    changed[5, 1, 2, 3] += 0.25
    assert matching.find(weight, changed, 0) is None  # one element differs
    assert matching.find(weight, np.random.default_rng(0).normal(size=values.shape).astype(np.float32), 0) is None
    assert matching.find(make((3, 3, 4, 8), seed=9), values, 0) is None
    for bad in (np.nan, np.inf):
        broken = values.copy()
        broken[0] = bad
        assert matching.find(weight, broken, 0) is None
    scaled = fold(weight.dense(), np.arange(1, 9, dtype=np.float32))
    assert matching.find(weight, scaled, None) is None  # an operator without output channels has no factors
    assert matching.find(weight, np.zeros((0,), np.float32), None) is None


def test_every_order_of_axes_is_tried_once():
    orders = list(matching._layouts((2, 3, 1, 4)))
    assert len(orders) == len(set(orders)) == 6
    kept = {tuple(a for a in order if a != 2) for order in orders}
    assert kept == set(itertools.permutations((0, 1, 3)))
