"""The trainable state of one weight tensor's mixture(s)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from dgms_keras.backend_ops import traced
from dgms_keras.frozen import Mixture
from dgms_keras.layers.groups import Groups
from dgms_keras.layers.values import to_numpy
from dgms_keras.layers.weight_decay import NAME_MARK, exclude_mixtures_from_weight_decay

# How far training may move pi, gamma and tau from where they started, as a factor exp(+-limit): the floors (and ceilings) that
# keep them positive and finite. pi: a share of e^-16 = 1e-7 of its start is dead; gamma: 5 orders of magnitude;
# tau: 0.01 -> at least 3e-4.
_PI_LIMIT, _GAMMA_LIMIT, _TAU_LIMIT = 16.0, 11.5, 3.5


class _Within(keras.constraints.Constraint):
    """Keeps every entry within +-limits after each update: beyond them its gradient would be zero for good."""

    def __init__(self, limits: np.ndarray) -> None:
        self._limits = limits

    def __call__(self, value: Any) -> Any:
        return ops.clip(value, -self._limits, self._limits)


@functools.cache
def _values_of(codes: int, lead: tuple[int, ...], learn_temperature: bool) -> Callable[..., Any]:
    """(start, learned) -> mu, pi, gamma, tau; see `MixtureVariables.values`."""

    def values(start: Any, learned: Any) -> tuple[Any, Any, Any, Any]:
        learned = ops.reshape(learned, (start.shape[0], -1))
        mu, pi, gamma = (start[:, i * codes : (i + 1) * codes] for i in range(3))
        tau, scale = start[:, 3 * codes], start[:, 3 * codes + 1 :]
        d_mu = learned[:, : codes - 1]
        d_pi = learned[:, codes - 1 : 2 * codes - 1]
        d_gamma = learned[:, 2 * codes - 1 : 3 * codes - 1]
        mu = mu + ops.concatenate([ops.zeros_like(scale), scale * d_mu], axis=1)
        pi = pi * ops.exp(ops.clip(d_pi, -_PI_LIMIT, _PI_LIMIT))
        gamma = gamma * ops.exp(ops.clip(d_gamma, -_GAMMA_LIMIT, _GAMMA_LIMIT))
        if learn_temperature:
            tau = tau * ops.exp(ops.clip(learned[:, 3 * codes - 1], -_TAU_LIMIT, _TAU_LIMIT))
        mu, pi, gamma = (ops.reshape(x, (*lead, codes)) for x in (mu, pi, gamma))
        return mu, pi, gamma, ops.reshape(tau, lead)

    return traced(values)


class MixtureVariables(keras.layers.Layer):
    """mu, pi, gamma and tau of one mixture, or of one mixture per channel group, as two variables.

    `start` holds where the mixture started, `learned` what training added, in units that suit one optimizer for all variables
    of a model: mu relative to the layer's scale (the power of two at or above max |mu|), pi, gamma and tau as logarithms:

        mu = mu_start + scale * d_mu        pi = pi_start * exp(d_pi)        (gamma and tau like pi)

    So `learned` starts at zero and a mixture that was given is given back exactly. It is one flat vector: one optimizer update
    instead of four. mu[0], the zero component, has no entry in it and stays 0; tau has one only if it is learned.

    Args:
        codes: number of components, 2**bits.
        groups: the tensor's channel groups.
        learn_temperature: whether tau is trained.
        initial: returns the start values; called when the variables get their values, which may be later than `build`.
        name: name of the layer, in the paths of the variables.
    """

    def __init__(
        self, codes: int, groups: Groups, learn_temperature: bool, initial: Callable[[], Mixture], name: str
    ) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self._codes = codes
        self._groups = groups
        self._learn_temperature = learn_temperature
        self._initial = initial
        # Sizes of the parts of one row: d_mu, d_pi, d_gamma, d_tau.
        self._parts = (codes - 1, codes, codes, int(learn_temperature))

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables, float32 under every policy."""
        exclude_mixtures_from_weight_decay()
        count, columns = self._groups.count, 3 * self._codes + 2
        limits = np.repeat([np.inf, _PI_LIMIT, _GAMMA_LIMIT, _TAU_LIMIT], self._parts)
        self._limits = np.tile(limits, count).astype("float32")
        common = {"dtype": "float32", "autocast": False, "aggregation": "only_first_replica"}
        self.start = self.add_weight(
            shape=(count, columns),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self._packed(self._initial())),
            trainable=False,
            name=f"{NAME_MARK}_start",
            **common,
        )
        self.learned = self.add_weight(
            shape=(count * sum(self._parts),),
            initializer="zeros",
            constraint=_Within(self._limits),
            name=f"{NAME_MARK}_learned",
            **common,
        )

    def _packed(self, mixture: Mixture) -> np.ndarray:
        rows = [np.reshape(x, (self._groups.count, -1)) for x in (mixture.mu, mixture.pi, mixture.gamma, mixture.tau)]
        largest = np.abs(rows[0]).max(axis=1, keepdims=True)
        # A power of two: scale * d is exact, so mu does not depend on whether the compiler fuses it with the addition.
        scale = np.exp2(np.ceil(np.log2(np.where(largest > 0, largest, 1.0))))
        return np.concatenate([*rows, scale], axis=1).astype("float32")

    @property
    def _bits(self) -> int:
        return self._codes.bit_length() - 1

    def values(self) -> tuple[Any, Any, Any, Any]:
        """(mu, pi, gamma, tau) now: float32 tensors, `[codes]` three times and `[]`, or `[groups, codes]` and `[groups]`."""
        of = _values_of(self._codes, self._groups.lead, self._learn_temperature)
        return of(ops.convert_to_tensor(self.start), ops.convert_to_tensor(self.learned))

    def get_mixture(self) -> Mixture:
        """The mixture now, with `pi` summing to 1.

        Raises:
            ValueError: a value is not finite: training diverged.
        """
        mu, pi, gamma, tau = (to_numpy(x) for x in self.values())
        share = pi.sum(axis=-1, keepdims=True, dtype="float64")
        if np.any(np.abs(share - 1) > 1e-6):  # else it was normalised already: give back what was given, to the bit
            pi = (pi / share).astype("float32")
        return Mixture(mu=mu, pi=pi, gamma=gamma, tau=tau, bits=self._bits)

    def set_mixture(self, mixture: Mixture) -> None:
        """Starts over from a mixture.

        Raises:
            ValueError: it has other bits or other channel groups.
        """
        shape = (*self._groups.lead, self._codes)
        if mixture.mu.shape != shape:
            raise ValueError(
                f"the mixture must have `mu` of shape {shape}, bits={self._bits}. "
                f"Received: shape {mixture.mu.shape}, bits={mixture.bits}"
            )
        self.start.assign(self._packed(mixture))
        self.learned.assign(np.zeros(self.learned.shape, "float32"))

    def set_temperature(self, tau: float) -> None:
        """Sets tau, of every group; what training had learned about it is dropped."""
        start = to_numpy(self.start)
        start[:, 3 * self._codes] = tau
        self.start.assign(start)
        if self._learn_temperature:
            learned = to_numpy(self.learned).reshape(self._groups.count, -1).copy()
            learned[:, -1] = 0
            self.learned.assign(learned.reshape(-1))
