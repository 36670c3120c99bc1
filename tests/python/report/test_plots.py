"""The picture of a mixture: densities against NumPy's own integral, and a file that is a picture."""

import numpy as np
import pytest

from dgms_keras.frozen import Mixture
from dgms_keras.report.plots import component_densities, save_before_after

MIXTURE = Mixture(mu=[0, -1, 0.5, 2], pi=[0.4, 0.3, 0.2, 0.1], gamma=[0.1, 0.2, 0.1, 0.3], tau=0.01, bits=2)


def test_densities_integrate_to_the_shares():
    grid = np.linspace(-6, 6, 200_001)
    areas = np.trapezoid(component_densities(grid, MIXTURE), grid, axis=0)
    np.testing.assert_allclose(areas, MIXTURE.pi, rtol=1e-6)  # trapezoids of width 6e-5 on curves of width 0.1


def test_picture_is_written_whole_or_not_at_all(tmp_path):
    pytest.importorskip("matplotlib")
    weights = np.random.default_rng(0).standard_normal((3, 3, 8, 8))
    path = save_before_after(tmp_path / "m.png", [("a", weights, MIXTURE, weights * 0.5, MIXTURE)] * 2)
    assert path.read_bytes().startswith(b"\x89PNG") and [p.name for p in tmp_path.iterdir()] == ["m.png"]
    with pytest.raises(ValueError):
        save_before_after(tmp_path / "m.nosuchformat", [("a", weights, MIXTURE, weights, MIXTURE)])
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]
