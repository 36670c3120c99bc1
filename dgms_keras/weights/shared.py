"""`SharedWeight`: one quantised weight of a model, with its variables, as reports and export see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from dgms_keras.backend_ops import to_numpy
from dgms_keras.frozen import FrozenWeight, Mixture
from dgms_keras.targets import Target
from dgms_keras.weights.methods import WeightQuantizer


@dataclasses.dataclass(frozen=True, eq=False)
class SharedWeight:
    """A weight tensor and the state of its mixture, in variables of Keras 3 or tf_keras.

    Args:
        name: name of its mixture in its model, as in `dgms_keras.mixtures`.
        path: path of the layer that was quantised in its model.
        target: which weight of that layer.
        quantizer: how it is quantised.
        latent: the variable with the latent weights.
        start, learned: the variables with the quantiser's state; see `MixtureQuantizer`.
    """

    name: str
    path: str
    target: Target
    quantizer: WeightQuantizer
    latent: Any
    start: Any
    learned: Any

    def latent_values(self) -> np.ndarray:
        """The latent weights, float32."""
        return to_numpy(self.latent).astype("float32")

    @property
    def has_mixture(self) -> bool:
        """Whether a mixture shares the values (else QIL's levels do)."""
        return self.quantizer.has_mixture

    def mixture(self) -> Mixture:
        """The mixture as it is now; only where `has_mixture`.

        Raises:
            ValueError: it is not finite; the message names the layer.
        """
        return self._named(self.quantizer.mixture, self.start, self.learned)

    def _named(self, function: Callable[..., Any], *args: Any) -> Any:
        """A function's result, or its ValueError with the layer's name."""
        try:
            return function(*args)
        except ValueError as error:
            raise ValueError(f"{error} (layer {self.path!r})") from None

    def set_mixture(self, mixture: Mixture) -> None:
        """Starts over from a mixture.

        Raises:
            ValueError: it has other bits or other channel groups; the message names the layer.
        """
        self._restart_from(self._named(self.quantizer.packed, mixture))

    def _restart_from(self, start: np.ndarray) -> None:
        self.start.assign(start)
        self.learned.assign(np.zeros(self.quantizer.learned_shape, "float32"))

    def restart(self) -> None:
        """Starts over from the weights as they are now.

        Raises:
            ValueError: weights that are not finite; the message names the layer.
        """
        self._restart_from(self.quantizer.initial_start(self.latent_values(), self.name))

    @property
    def bits(self) -> int:
        """The bits of its config."""
        return self.quantizer.config.bits

    def set_bits(self, bits: int) -> None:
        """Goes on with another number of bits; only for QIL (not `has_mixture`)."""
        self.start.assign(self.quantizer.with_bits(to_numpy(self.start), bits))

    def set_temperature(self, tau: float) -> None:
        """Sets tau; what training had learned about it is dropped."""
        start, learned = self.quantizer.with_temperature(to_numpy(self.start), to_numpy(self.learned), tau)
        self.start.assign(start)
        self.learned.assign(learned)

    def freeze(self) -> FrozenWeight:
        """Indices and codebook; `dense()` of it is what evaluation uses.

        Raises:
            ValueError: weights or mixture are not finite; the message names the layer.
        """
        latent = self.latent_values()
        if not np.all(np.isfinite(latent)):
            raise ValueError(
                f"weights must be finite. Received: {np.sum(~np.isfinite(latent))} that are not (layer {self.name!r})"
            )
        codebook = self._named(self.quantizer.codebook, self.start, self.learned)  # raises where training diverged
        sublayer = self.target.sublayer.replace(".", "/")
        return FrozenWeight(
            layer="/".join(p for p in (self.path, sublayer) if p),
            weight=self.target.public_name,
            indices=self.quantizer.indices(latent, self.start, self.learned),
            codebook=codebook,
            bits=self.bits,
            channel_axis=self.target.channel_axes,
            group_size=self.quantizer.groups.size,
        )
