"""The two implementations of the packed code stream, Python's and the delegate's, against each other (FORMAT.md, section 1).

Both are pinned by tests/golden/packing.txt; here they meet on random data.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.format import packing

native = pytest.importorskip("dgms_keras._native", reason="the bindings are not built (pip install -e .)")


@settings(deadline=None, max_examples=300)
@given(bits=st.sampled_from([2, 3, 4]), data=st.data())
def test_both_read_and_write_the_same(bits: int, data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=200)), np.uint8)
    planes = packing.pack(codes, bits)
    for ours, theirs in zip(native.pack_codes(codes, bits), planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(native.unpack_codes(list(planes), bits, codes.size), codes)
    np.testing.assert_array_equal(packing.unpack(native.pack_codes(codes, bits), bits, codes.size), codes)


@settings(deadline=None, max_examples=100)
@given(bits=st.sampled_from([2, 3, 4]), count=st.integers(0, 100), seed=st.integers(0, 2**32 - 1))
def test_any_bytes_are_codes(bits: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    planes = [rng.integers(0, 256, size).astype(np.uint8) for size in packing.plane_sizes(bits, count)]
    codes = native.unpack_codes(planes, bits, count)
    assert codes.size == count and (codes < 2**bits).all()
    np.testing.assert_array_equal(codes, packing.unpack(planes, bits, count))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"`bits` must be 2, 3 or 4\. Received: bits=5"):
        native.unpack_codes([np.zeros(1, np.uint8)], 5, 1)
    with pytest.raises(ValueError, match="must have 2 arrays"):
        native.unpack_codes([np.zeros(1, np.uint8)], 3, 1)
    with pytest.raises(ValueError, match=r"plane 0 must have 2 bytes\. Received: 1"):
        native.unpack_codes([np.zeros(1, np.uint8)], 4, 3)
    with pytest.raises(ValueError, match="below 2"):
        native.pack_codes(np.array([16], np.uint8), 4)
