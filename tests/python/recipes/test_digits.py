"""The digits recipe: data as stated, enlargement against an independent oracle."""

import numpy as np

from dgms_keras.recipes.digits import SIDE, enlarge, load_digits, shifted


def test_split_is_stratified_disjoint_and_deterministic():
    digits = load_digits()
    assert digits.x_train.shape == (1000, SIDE, SIDE, 1)
    assert digits.x_test.shape == (797, SIDE, SIDE, 1)
    assert digits.x_train.dtype == np.float32
    assert digits.x_train.min() >= -1 and digits.x_train.max() <= 1
    shares = np.bincount(digits.y_test, minlength=10) / len(digits.y_test)
    # 797 images of ten classes that are 9.7% to 10.2% of the data each: rounding moves a share by at most 1/797.
    assert np.all(np.abs(shares - 0.1) < 0.005)
    again = load_digits()
    np.testing.assert_array_equal(digits.x_train, again.x_train)
    trained_on = {image.tobytes() for image in digits.x_train}
    assert sum(image.tobytes() in trained_on for image in digits.x_test) == 0


def test_enlarge_matches_interpolation_by_hand():
    images = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    got = enlarge(images, 2)
    assert got.shape == (2, 10, 8)
    for n in range(2):  # NumPy's own 1-D interpolation, rows then columns
        rows = np.array([np.interp((np.arange(10) + 0.5) / 2 - 0.5, np.arange(5), images[n, :, j]) for j in range(4)]).T
        full = np.array([np.interp((np.arange(8) + 0.5) / 2 - 0.5, np.arange(4), rows[i]) for i in range(10)])
        np.testing.assert_allclose(got[n], full, atol=1e-6)  # float32 products of numbers of order 1


def test_shifted_moves_content_and_keeps_labels():
    images = np.full((3, SIDE, SIDE, 1), -1.0, np.float32)
    images[:, 8, 8] = 1.0
    x, y = shifted(images, np.arange(3), seed=1)
    assert x.shape == (6, SIDE, SIDE, 1) and list(y) == [0, 1, 2, 0, 1, 2]
    for image in x[3:]:
        at = np.argwhere(image[..., 0] == 1.0)
        assert len(at) == 1 and np.all(np.abs(at - 8) <= 2)
        assert np.count_nonzero(image != -1.0) == 1
