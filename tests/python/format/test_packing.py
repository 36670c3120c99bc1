"""The packed code stream: golden vectors shared with C++, one-hot probes, round trips, and the tables that decode in the graph."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dgms_keras.format import packing

GOLDEN = Path(__file__).parents[2] / "golden"


def read_golden() -> tuple[list[dict], list[dict]]:
    cases: list[dict] = []
    tables: list[dict] = []
    for line in (GOLDEN / "packing.txt").read_text().splitlines():
        word, *rest = line.split()
        if word.startswith("#"):
            continue
        if word == "case":
            cases.append({"name": rest[0], "bits": int(rest[1]), "count": int(rest[2])})
        elif word == "table":
            tables.append({"name": rest[0], "columns": int(rest[1])})
        elif word == "values":
            tables[-1]["values"] = [int(d, 16) for d in rest[0]]
        elif word == "codes":
            cases[-1]["codes"] = [] if rest[0] == "-" else [int(d, 16) for d in rest[0]]
        else:
            cases[-1].setdefault("planes", {})[word] = b"" if rest[0] == "-" else bytes.fromhex(rest[0])
    return cases, tables


CASES, TABLES = read_golden()


def test_golden_file_is_what_its_oracle_writes():
    module = runpy.run_path(str(GOLDEN / "make_packing.py"))
    assert (GOLDEN / "packing.txt").read_text() == module["text"]()


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['name']}-{c['bits']}bit")
def test_golden_cases(case):
    codes = np.array(case["codes"], np.uint8)
    assert len(codes) == case["count"]
    planes = packing.pack(codes, case["bits"])
    names = [plane.name for plane in packing.planes_of(case["bits"])]
    assert {n: p.tobytes() for n, p in zip(names, planes, strict=True)} == case["planes"]
    stored = [np.frombuffer(case["planes"][n], np.uint8) for n in names]
    np.testing.assert_array_equal(packing.unpack(stored, case["bits"], case["count"]), codes)


def test_golden_tables():
    ours = {"pairs4": packing.PLANES[4][0], "pairs2": packing.PLANES[2][0], "high3": packing.PLANES[3][1]}
    assert {t["name"] for t in TABLES} == set(ours)
    for t in TABLES:
        table = ours[t["name"]].table()
        assert table.dtype == np.int32
        np.testing.assert_array_equal(table, np.array(t["values"]).reshape(256, t["columns"]))
    np.testing.assert_array_equal(packing.PLANES[3][0].table(), packing.PLANES[2][0].table())


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_one_hot_probe_sets_one_bit_in_its_place(bits):
    for position in range(33):
        for bit in range(bits):
            codes = np.zeros(33, np.uint8)
            codes[position] = 1 << bit
            planes = packing.pack(codes, bits)
            for plane, data in zip(packing.planes_of(bits), planes, strict=True):
                ones = np.flatnonzero(np.unpackbits(data, bitorder="little"))
                inside = plane.shift <= bit < plane.shift + plane.width
                assert ones.tolist() == ([position * plane.width + bit - plane.shift] if inside else [])


@given(
    bits=st.sampled_from([2, 3, 4]),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 70)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_round_trip_by_rows(bits, shape, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, shape)
    planes = packing.pack(codes, bits)
    assert tuple(p.shape[-1] for p in planes) == packing.plane_sizes(bits, shape[1])
    np.testing.assert_array_equal(packing.unpack(planes, bits, shape[1]), codes)
    for row in range(shape[0]):  # a row is packed as if it were alone
        for plane, alone in zip(planes, packing.pack(codes[row], bits), strict=True):
            np.testing.assert_array_equal(plane[row], alone)


@given(codes=hnp.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 7)))
@settings(deadline=None)
def test_three_bits_decode_as_the_graph_does(codes):
    low, high = packing.pack(codes, 3)
    low_plane, high_plane = packing.planes_of(3)
    index = low_plane.table()[low].reshape(-1, 8) + high_plane.table()[high]
    np.testing.assert_array_equal(index.reshape(-1)[: len(codes)], codes)
    assert 8 * (low.size + high.size) == 3 * packing.padded_count(3, len(codes))  # true 3 bits


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: packing.pack(np.zeros(3, int), 5), "bits=5"),
        (lambda: packing.pack(np.zeros(3, int), True), "bits=True"),
        (lambda: packing.pack(np.array([0, 4]), 2), r"\[0, 4\) for bits=2. Received: 0 to 4"),
        (lambda: packing.pack(np.array([-1, 1]), 2), "Received: -1 to 1"),
        (lambda: packing.pack(np.array(1), 2), "a scalar"),
        (lambda: packing.pack(np.array([0.0]), 2), "dtype=float64"),
        (lambda: packing.unpack([np.zeros(2, np.uint8)], 3, 3), "2 arrays for bits=3. Received: 1"),
        (lambda: packing.unpack([np.zeros(2, np.uint8)], 4, 7), "4 bytes per row for 7 codes"),
        (lambda: packing.unpack([np.zeros(4, np.int8)], 4, 7), "Received: int8"),
    ],
)
def test_errors_state_the_rule_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
