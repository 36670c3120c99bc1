import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgms_keras.frozen import FrozenWeight, Mixture


def mixture(bits=2, lead=(), **changes):
    codes = 2**bits
    fields = {
        "mu": np.broadcast_to(np.arange(codes), (*lead, codes)),
        "pi": np.full((*lead, codes), 1 / codes),
        "gamma": np.full((*lead, codes), 0.1),
        "tau": np.full(lead, 0.01),
        "bits": bits,
    }
    return Mixture(**{**fields, **changes})


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_mixture_json_is_exact(bits, lead):
    rng = np.random.default_rng(bits)
    mu = rng.normal(size=(*lead, 2**bits)).astype("float32")
    mu[..., 0] = 0
    made = mixture(
        bits, lead, mu=mu, pi=rng.random(mu.shape) + 1e-30, gamma=rng.random(mu.shape), tau=rng.random(lead) + 0.1
    )
    again = Mixture.from_json(made.to_json())
    for field in ("mu", "pi", "gamma", "tau"):
        assert getattr(again, field).dtype == np.float32
        np.testing.assert_array_equal(getattr(again, field), getattr(made, field))
    assert again.bits == bits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 5}, "bits=5"),
        ({"mu": np.zeros(3)}, "`mu` must have 4 entries for bits=2"),
        ({"mu": [1, 2, 3, 4]}, "the zero component"),
        ({"pi": np.ones(3)}, "`pi` must have the shape of `mu`"),
        ({"tau": np.ones(2)}, "`tau` must have the shape"),
        ({"mu": [0, 1, np.nan, 2]}, "`mu` must be finite"),
        ({"pi": [1, 0, 1, 1]}, "`pi` must be finite and > 0"),
        ({"gamma": [1, -1, 1, 1]}, "`gamma` must be finite and > 0"),
        ({"gamma": [1, np.inf, 1, 1]}, "`gamma` must be finite and > 0"),
        ({"tau": 0.0}, "`tau` must be finite and > 0"),
    ],
)
def test_a_bad_mixture_is_rejected_by_field(changes, message):
    with pytest.raises(ValueError, match=message):
        mixture(**changes)


def test_a_missing_field_is_named():
    config = mixture().get_config()
    del config["gamma"]
    with pytest.raises(ValueError, match="Missing: gamma"):
        Mixture.from_config(config)


def test_numpy_bits_are_json():
    assert Mixture.from_json(mixture(np.int64(2)).to_json()).bits == 2


def test_a_mixture_does_not_share_memory_with_its_arguments():
    mu = np.array([0, 1, 2, 3], "float32")
    made = mixture(mu=mu)
    mu[1] = 9
    assert made.mu[1] == 1


@st.composite
def frozen(draw):
    bits = draw(st.sampled_from([2, 3, 4]))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    axes = tuple(draw(st.permutations(range(len(shape))))[: draw(st.integers(1, 2))])
    axes = tuple(a - len(shape) if draw(st.booleans()) else a for a in axes)
    channels = int(np.prod([shape[a] for a in axes]))
    size = draw(st.one_of(st.none(), st.integers(1, channels + 2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    lead = () if size is None else (-(-channels // size),)
    return FrozenWeight(
        layer="a/b",
        weight="kernel",
        indices=rng.integers(0, 2**bits, shape),
        codebook=rng.normal(size=(*lead, 2**bits)),
        bits=bits,
        channel_axis=axes,
        group_size=size,
    )


@given(frozen())
def test_dense_looks_every_element_up_in_its_groups_codebook(weight):
    """Element by element, with Python loops."""
    shape = weight.indices.shape
    axes = [a % len(shape) for a in weight.channel_axis]
    expected = np.empty(shape, "float32")
    for at in itertools.product(*map(range, shape)):
        channel = 0
        for axis in axes:
            channel = channel * shape[axis] + at[axis]
        book = weight.codebook if weight.group_size is None else weight.codebook[channel // weight.group_size]
        expected[at] = book[weight.indices[at]]
    np.testing.assert_array_equal(weight.dense(), expected)
    assert weight.dense().dtype == np.float32
    assert weight.name == "a/b/kernel"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 1}, "bits=1.*'l/kernel'"),
        ({"indices": [0, 4]}, "`indices` must be from 0 to 3. Received: 0 to 4 .*'l/kernel'"),
        ({"indices": [-1]}, "Received: -1 to -1"),
        ({"indices": np.array([257])}, "Received: 257 to 257"),  # 1, if it were cast first
        ({"indices": [0.5]}, "`indices` must be integers"),
        ({"codebook": np.zeros(3)}, r"`codebook` must have the shape \(4,\)"),
        ({"codebook": [0, 1, np.nan, 2]}, "`codebook` must be finite"),
        ({"indices": np.zeros((2, 3), int), "group_size": 2}, r"must have the shape \(2, 4\)"),
    ],
)
def test_a_bad_frozen_weight_is_rejected_by_name(changes, message):
    fields = {"layer": "l", "weight": "kernel", "indices": [0, 1], "codebook": [0, 1, 2, 3], "bits": 2}
    with pytest.raises(ValueError, match=message):
        FrozenWeight(**{**fields, **changes})
