"""The int8 study in small: every file is made, measured and reported. Its figures come from the recipe itself."""

import json

import pytest

from dgms_keras.recipes.int8_accuracy import DYNAMIC, VARIANTS, Settings, run_study


@pytest.mark.slow
def test_a_small_study():
    said = []
    settings = Settings(
        train_images=600, test_images=240, calibration_images=40, float_epochs=1, dgms_epochs=1, bits=(2,)
    )
    result = json.loads(json.dumps(run_study(settings, said.append)))
    rows = result["rows"]
    assert [row["variant"] for row in rows] == ["float", DYNAMIC, *VARIANTS]
    for row in rows:
        assert 0 <= row["top1"] <= 100 and row["change"] == pytest.approx(row["top1"] - rows[0]["top1"])
    default, dense = rows[-1], rows[2]
    # All but the first and the last layer share weights; the smallest of them stay dense in the file.
    assert len(default["layer_snr_db"]) >= 5 and default["least_snr_db"] > 10
    assert default["file_bytes"] < dense["file_bytes"] and dense["layer_snr_db"] == {}
    assert any("default" in line for line in said)
