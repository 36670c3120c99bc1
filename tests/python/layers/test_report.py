import io

import keras
import numpy as np
import pytest

from dgms_keras import frozen_weights, mixtures, summary
from dgms_keras.layers import quantize_apply
from dgms_keras.weights.report import WeightSummary

L = keras.layers


@pytest.fixture
def quantised():
    inputs = keras.Input((8, 8, 8))
    x = L.SeparableConv2D(10, 3, name="sep")(L.Conv2D(8, 3, name="conv")(inputs))
    model = keras.Model(inputs, L.Dense(5, name="head")(L.Flatten()(x)), name="net")
    return quantize_apply(model, bits=3, skip_first_last=False, overrides={"conv": {"bits": 2, "granularity": 3}})


def test_summary_is_the_data_of_the_frozen_weights(quantised):
    """Every figure computed again from frozen weights, latents and mixtures."""
    rows = summary(quantised, print_table=False)
    frozen, found = frozen_weights(quantised), mixtures(quantised)
    assert [r.layer for r in rows] == list(found) == ["conv", "sep/depthwise_kernel", "sep/pointwise_kernel", "head"]
    for row, weight in zip(rows, frozen, strict=True):
        latent = quantised.get_layer(weight.layer)
        latent = np.asarray(getattr(latent, weight.weight).numpy(), "float64")
        hard, n = weight.dense().astype("float64"), weight.indices.size
        assert (row.weight, row.shape, row.bits, row.size) == (weight.weight, weight.indices.shape, weight.bits, n)
        assert row.zeros == np.sum(hard == 0)
        assert row.zero_share == pytest.approx(np.mean(hard == 0))
        assert row.squared_error == pytest.approx(np.sum((latent - hard) ** 2))
        assert row.relative_error == pytest.approx(np.sum((latent - hard) ** 2) / np.sum(latent**2))
        assert row.bytes_before == 4 * n
        tables = row.groups * 4 * 2**weight.bits
        assert row.bytes_after - tables == pytest.approx(
            n * weight.bits / 8, abs=2
        )  # rounded up to whole bytes per plane
        mixture = found[row.layer]
        assert (row.tau_min, row.tau_max) == (mixture.tau.min(), mixture.tau.max())
    assert rows[0].groups == 3
    pairs = {(c // 3, k) for c in range(8) for k in np.unique(frozen[0].indices[..., c])}
    assert rows[0].codes_used == len(pairs)
    assert rows[0].codes == 12
    assert rows[3].codes_used == len(np.unique(frozen[3].indices))
    used = found["head"].gamma[np.unique(frozen[3].indices)]
    assert (rows[3].gamma_min, rows[3].gamma_max) == (used.min(), used.max())


def test_summary_prints_a_table(quantised, capsys):
    rows = summary(quantised)
    text = capsys.readouterr().out
    assert "DGMS: net" in text
    for row in rows:
        line = next(line for line in text.splitlines() if f" {row.layer} " in line)
        for part in (
            "x".join(map(str, row.shape)),
            f"{row.codes_used}/{row.codes}",
            f"{row.bytes_before:,}",
            f"{row.bytes_after:,}",
        ):
            assert part in line
    before, after = sum(r.bytes_before for r in rows), sum(r.bytes_after for r in rows)
    assert f"{before:,}" in text.splitlines()[-2]
    assert f"{after:,} ({before / after:.1f}x)" in text.splitlines()[-2]
    file = io.StringIO()
    summary(quantised, file=file)
    assert file.getvalue() == text


def test_components_that_die_are_reported(quantised, capsys):
    """A share of almost nothing leaves a component without weights."""
    wrapper = quantised.get_layer("head")
    variables = wrapper.mixture_layers[0]
    learned = np.zeros(variables.learned.shape, "float32")
    learned[7 + 4] = -16  # pi of code 4
    variables.learned.assign(learned)
    variables.start.assign(np.where(np.arange(26) == 8 + 4, 1e-30, variables.start.numpy()))
    row = summary(quantised)[-1]
    assert row.dead_codes == ((4,),)
    assert row.codes_used == 7
    assert "head: no weight takes code 4\n" in capsys.readouterr().out


def test_an_ordinary_model_has_nothing_to_report(capsys):
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    assert summary(model) == []
    assert mixtures(model) == {}
    assert frozen_weights(model) == []
    assert "total" in capsys.readouterr().out


def test_rows_are_plain_data(quantised):
    import dataclasses
    import json

    rows = summary(quantised, print_table=False)
    assert all(isinstance(row, WeightSummary) for row in rows)
    json.dumps([dataclasses.asdict(row) for row in rows])
