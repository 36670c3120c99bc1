"""The study of quantised activations in small. Its figures come from the recipe itself."""

import json

import pytest

from dgms_keras.recipes.activation_accuracy import COMBINATIONS, Settings, run_study


@pytest.mark.slow
@pytest.mark.parametrize(("kr", "only"), [("keras", "W2A32"), ("tf_keras", "W4A8")])
def test_a_small_study(kr, only):
    said = []
    settings = Settings(
        train_images=256, test_images=120, calibration_images=40, float_epochs=1, epochs=1, keras=kr, only=(only,)
    )
    rows = json.loads(json.dumps(run_study(settings, said.append)))["rows"]
    wanted = [c for c in COMBINATIONS if f"W{c[0]}A{c[1] or 32}" == only]
    assert [(row["bits"], row["activation_bits"], row["method"]) for row in rows] == wanted != []
    assert all(0 <= row["top1"] <= 100 and 0 <= row["untrained_top1"] <= 100 for row in rows)
    assert sum(line.startswith(only) for line in said) == len(wanted)
