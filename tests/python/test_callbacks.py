import keras
import numpy as np
import pytest

import dgms_keras
from dgms_keras import TemperatureSchedule, mixtures
from dgms_keras.layers import quantize_apply


class Record(keras.callbacks.Callback):
    """tau of all mixtures when an epoch begins (after the callbacks before it) and ends."""

    def __init__(self):
        super().__init__()
        self.begin, self.end = [], []

    def taus(self):
        return np.concatenate([np.ravel(m.tau) for m in mixtures(self.model).values()])

    def on_epoch_begin(self, epoch, logs=None):
        self.begin.append(self.taus())

    def on_epoch_end(self, epoch, logs=None):
        self.end.append(self.taus())


def run(model, data, epochs, initial_epoch=0, learn=False, start=0.3, end=0.01, **config):
    quantised = quantize_apply(model, bits=2, learn_temperature=learn, **config)
    quantised.compile(keras.optimizers.Adam(1e-2), "mse", run_eagerly=True)
    record = Record()
    quantised.fit(
        *data,
        epochs=epochs,
        initial_epoch=initial_epoch,
        batch_size=16,
        verbose=0,
        callbacks=[TemperatureSchedule(start, end), record],
    )
    return record


@pytest.mark.parametrize("granularity", ["layer", 3])
def test_exponential_over_the_epochs(small_model, small_data, granularity):
    record = run(small_model, small_data, 4, granularity=granularity)
    expected = 0.3 * (0.01 / 0.3) ** (np.arange(4) / 3)
    for taus in (record.begin, record.end):
        np.testing.assert_allclose(np.stack(taus), np.repeat(expected[:, None], taus[0].size, 1), rtol=1e-6)


def test_it_goes_on_from_initial_epoch(small_model, small_data):
    whole, rest = run(small_model, small_data, 4), run(small_model, small_data, 4, initial_epoch=2)
    np.testing.assert_array_equal(np.stack(whole.begin)[2:], np.stack(rest.begin))


def test_a_learned_temperature_moves_within_an_epoch_only(small_model, small_data):
    record = run(small_model, small_data, 3, learn=True)
    np.testing.assert_allclose(np.stack(record.begin)[:, 0], 0.3 * (0.01 / 0.3) ** (np.arange(3) / 2), rtol=1e-6)
    assert np.any(np.stack(record.end) != np.stack(record.begin))


def test_a_single_epoch_trains_at_the_end(small_model, small_data):
    np.testing.assert_allclose(run(small_model, small_data, 1).begin[0], 0.01, rtol=1e-6)


def test_rising_and_constant_schedules():
    assert [TemperatureSchedule(0.1, 0.4).temperature(e, 3) for e in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    assert [TemperatureSchedule(0.1, 0.1).temperature(e, 3) for e in range(3)] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("bad", [0, -0.1, float("nan"), float("inf"), "0.1", True])
def test_bad_temperatures(bad):
    with pytest.raises(ValueError, match=r"`start` must be a finite number > 0"):
        TemperatureSchedule(bad, 0.1)
    with pytest.raises(ValueError, match=r"`end` must be a finite number > 0"):
        TemperatureSchedule(0.1, bad)


def test_a_model_without_mixtures_is_an_error(small_model, small_data):
    small_model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"quantize_apply. Received: model 'small'"):
        small_model.fit(*small_data, verbose=0, callbacks=[dgms_keras.TemperatureSchedule(0.3, 0.01)])
