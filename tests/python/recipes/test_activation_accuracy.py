"""The study of quantised activations in small. Its figures come from the recipe itself."""

import json

import pytest

from dgms_keras.recipes.activation_accuracy import COMBINATIONS, Settings, run_study


@pytest.mark.slow
@pytest.mark.parametrize("kr", ["keras", "tf_keras"])
def test_a_small_study(kr):
    said = []
    settings = Settings(train_images=256, test_images=120, calibration_images=40, float_epochs=1, epochs=1, keras=kr)
    rows = json.loads(json.dumps(run_study(settings, said.append)))["rows"]
    assert [(row["bits"], row["activation_bits"], row["method"]) for row in rows] == list(COMBINATIONS)
    assert all(0 <= row["top1"] <= 100 and 0 <= row["untrained_top1"] <= 100 for row in rows)
    assert sum("W4A4 qil" in line for line in said) == 1
