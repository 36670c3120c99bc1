"""How a mixture quantises one weight tensor: its state as two arrays, the weights that a layer computes with, the frozen weight."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from dgms_keras import mixture as math
from dgms_keras.backend_ops import to_numpy, traced
from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import Mixture
from dgms_keras.mixture_init import initial_mixture, initial_mixtures
from dgms_keras.weights.groups import Groups

# In the name of every variable that holds a mixture's state. TensorFlow adds to names (":0", "/replica_1"), hence a part and not the
# whole.
NAME_MARK = "dgms_mixture"

# How far training may move pi, gamma and tau from where they started, as a factor exp(+-limit): the floors (and ceilings) that
# keep them positive and finite. pi: a share of e^-16 = 1e-7 of its start is dead; gamma: 5 orders of magnitude;
# tau: 0.01 -> at least 3e-4.
_PI_LIMIT, _GAMMA_LIMIT, _TAU_LIMIT = 16.0, 11.5, 3.5

# A layer that was rebuilt from its config gets its mixture from a file or from `set_weights` in the next moment. It starts with
# one from this many of its weights: good enough for `clone_model`, and quick.
_REBUILT_SAMPLE = 4096


class MixtureQuantizer:
    """mu, pi, gamma and tau of one mixture, or of one mixture per channel group, as two arrays, and what is computed with them.

    `start` holds where the mixture started, `learned` what training added, in units that suit one optimizer for all variables
    of a model: mu relative to the layer's scale (the power of two at or above max |mu|), pi, gamma and tau as logarithms:

        mu = mu_start + scale * d_mu        pi = pi_start * exp(d_pi)        (gamma and tau like pi)

    So `learned` starts at zero and a mixture that was given is given back exactly. It is one flat vector: one optimizer update
    instead of four. mu[0], the zero component, has no entry in it and stays 0; tau has one only if it is learned.

    Args:
        config: bits, posterior, temperature, ...; what chooses layers means nothing here.
        groups: the tensor's channel groups.
    """

    def __init__(self, config: DGMSConfig, groups: Groups) -> None:
        self.config = config
        self.groups = groups
        self.codes = 2**config.bits
        # Sizes of the parts of one row of `learned`: d_mu, d_pi, d_gamma, d_tau.
        self._parts = (self.codes - 1, self.codes, self.codes, int(config.learn_temperature))

    @classmethod
    def of(cls, config: DGMSConfig, shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> MixtureQuantizer:
        """The quantizer of a weight of this shape, with the config's granularity."""
        return cls(config, Groups(shape, channel_axes, None if config.granularity == "layer" else config.granularity))

    # Whether there is a mixture to report and to transfer.
    has_mixture = True
    name_mark = NAME_MARK

    @property
    def start_shape(self) -> tuple[int, ...]:
        """Shape of `start`: mu, pi, gamma, tau, scale of each group."""
        return (self.groups.count, 3 * self.codes + 2)

    @property
    def learned_shape(self) -> tuple[int, ...]:
        """Shape of `learned`."""
        return (self.groups.count * sum(self._parts),)

    @property
    def limits(self) -> np.ndarray:
        """The entries of `learned` are kept within +-limits after each update: beyond them their gradient would be zero for good."""
        limits = np.repeat([np.inf, _PI_LIMIT, _GAMMA_LIMIT, _TAU_LIMIT], self._parts)
        return np.tile(limits, self.groups.count).astype("float32")

    def placeholder_start(self) -> np.ndarray:
        """`start` of some mixture, for where only shapes matter."""
        lead = self.groups.lead
        ramp = np.broadcast_to(np.arange(self.codes, dtype="float32"), (*lead, self.codes))
        even = np.full(ramp.shape, 1 / self.codes)
        return self.packed(Mixture(ramp, even, even, np.full(lead, self.config.temperature), self.config.bits))

    def initial_start(self, latent: np.ndarray, name: str, quick: bool = False) -> np.ndarray:
        """`start` of the mixture that training starts from, by k-means on the weights.

        Args:
            latent: the weights, float32, in the tensor's shape.
            name: the layer's path, for messages.
            quick: from a sample of the weights, without warnings, whatever the weights are.

        Raises:
            ValueError: weights that are not finite.
        """
        config, groups = self.config, self.groups
        options: dict[str, Any] = {
            "bits": config.bits,
            "temperature": config.temperature,
            "gamma_init": config.gamma_init,
            "seed": config.seed,
            "name": name,
        }
        members = groups.members(latent)
        with warnings.catch_warnings():
            if quick:
                warnings.simplefilter("ignore")
                members = [np.nan_to_num(m[:: max(1, m.size // _REBUILT_SAMPLE)]) for m in members]
            if groups.size is None:
                return self.packed(initial_mixture(members[0], **options))
            return self.packed(initial_mixtures(members, **options))

    def packed(self, mixture: Mixture) -> np.ndarray:
        """`start` for a mixture; `learned` is then zeros.

        Raises:
            ValueError: it has other bits or other channel groups.
        """
        shape = (*self.groups.lead, self.codes)
        if mixture.mu.shape != shape:
            raise ValueError(
                f"the mixture must have `mu` of shape {shape}, bits={self.config.bits}. "
                f"Received: shape {mixture.mu.shape}, bits={mixture.bits}"
            )
        rows = [np.reshape(x, (self.groups.count, -1)) for x in (mixture.mu, mixture.pi, mixture.gamma, mixture.tau)]
        largest = np.abs(rows[0]).max(axis=1, keepdims=True)
        # A power of two: scale * d is exact, so mu does not depend on whether the compiler fuses it with the addition.
        scale = np.exp2(np.ceil(np.log2(np.where(largest > 0, largest, 1.0))))
        return np.concatenate([*rows, scale], axis=1).astype("float32")

    def values(self, start: Any, learned: Any) -> tuple[Any, Any, Any, Any]:
        """(mu, pi, gamma, tau): float32 tensors, `[codes]` three times and `[]`, or `[groups, codes]` and `[groups]`."""
        of = _values_of(self.codes, self.groups.lead, self.config.learn_temperature)
        return of(ops.convert_to_tensor(start), ops.convert_to_tensor(learned))

    def mixture(self, start: Any, learned: Any) -> Mixture:
        """The mixture, with `pi` summing to 1.

        Raises:
            ValueError: a value is not finite: training diverged.
        """
        mu, pi, gamma, tau = (to_numpy(x) for x in self.values(start, learned))
        share = pi.sum(axis=-1, keepdims=True, dtype="float64")
        if np.any(np.abs(share - 1) > 1e-6):  # else it was normalised already: give back what was given, to the bit
            pi = (pi / share).astype("float32")
        return Mixture(mu=mu, pi=pi, gamma=gamma, tau=tau, bits=self.config.bits)

    def with_temperature(self, start: np.ndarray, learned: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
        """(start, learned) with another tau in every group; what training had learned about it is dropped."""
        start = start.copy()
        start[:, 3 * self.codes] = tau
        if self.config.learn_temperature:
            learned = learned.reshape(self.groups.count, -1).copy()
            learned[:, -1] = 0
            learned = learned.reshape(-1)
        return start, learned

    def quantized(self, weight: Any, start: Any, learned: Any, training: bool) -> Any:
        """The weight as its layer uses it.

        Args:
            weight: the latent weights, float32, in the tensor's shape.
            start, learned: the mixture's state.
            training: as the config says for training (Eq. 8), else hard (Eq. 4).

        Returns:
            float32, in the tensor's shape.
        """
        config, groups = self.config, self.groups
        w = groups.split(weight)
        mu, pi, gamma, tau = self.values(start, learned)
        if not training:
            return groups.join(math.hard_weights(w, mu, pi, gamma, posterior=config.posterior))
        soft = math.training_weights(
            w,
            mu,
            pi,
            gamma,
            tau,
            posterior=config.posterior,
            weight_gradient=config.weight_gradient,
            training_weight=config.training_weight,
        )
        return groups.join(soft)

    def codebook(self, start: Any, learned: Any) -> np.ndarray:
        """The values of the codes, float32 `[codes]` or `[groups, codes]`."""
        return self.mixture(start, learned).mu

    def indices(self, latent: np.ndarray, start: Any, learned: Any) -> np.ndarray:
        """The codes of the weights (Eq. 5), int32 in the tensor's shape."""
        mu, pi, gamma, _ = self.values(start, learned)
        w = self.groups.split(ops.convert_to_tensor(latent))
        return to_numpy(self.groups.join(math.hard_indices(w, mu, pi, gamma, posterior=self.config.posterior)))


@functools.cache
def _values_of(codes: int, lead: tuple[int, ...], learn_temperature: bool) -> Callable[..., Any]:
    """(start, learned) -> mu, pi, gamma, tau; see `MixtureQuantizer.values`."""

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
