"""`DGMSQuantizer`: a tfmot Quantizer that shares a weight's values by a Gaussian mixture."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.targets import resolve, targets_of
from dgms_keras.tfmot.tf_keras_internals import behave_like, float32_value, make_freezable, track_before
from dgms_keras.weights.methods import weight_quantizer
from dgms_keras.weights.weight_decay import exclude_from_weight_decay


def add_variables(layer: Any, quantizer: Any, start: np.ndarray, prefix: str) -> dict[str, Any]:
    """The variables `start` and `learned` of a quantiser, in a tf_keras layer; see `QuantizerVariables` of `dgms_keras.layers`."""
    exclude_from_weight_decay(tf_keras.optimizers.Optimizer)
    common = {
        "dtype": tf.float32,
        "experimental_autocast": False,
        "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
    }
    made = {
        "start": layer.add_weight(
            name=f"{prefix}_start",
            shape=quantizer.start_shape,
            initializer=lambda shape, dtype=None, **_: tf.constant(start),
            trainable=False,
            **common,
        )
    }
    if quantizer.learned_shape is not None:
        limits = quantizer.limits
        made["learned"] = layer.add_weight(
            name=f"{prefix}_learned",
            shape=quantizer.learned_shape,
            initializer="zeros",
            constraint=lambda value: tf.clip_by_value(value, -limits, limits),
            **common,
        )
    return made


class DGMSQuantizer(Quantizer):
    """Quantises a weight of a layer: soft weights (Eq. 8) while training, hard weights (Eq. 4) otherwise.

    For your own QuantizeConfig, in `get_weights_and_quantizers`: `[(layer.kernel, DGMSQuantizer(bits=4))]`. `DGMSQuantizeConfig` does
    this for every supported layer.

    A frozen layer (`trainable=False`) uses its hard weights in training, too.

    Args:
        config: a `DGMSConfig` (or its `get_config()`); what chooses layers means nothing here.
        weight: dotted path of the weight from the layer; None for the weight that tfmot names.
        channel_axes: axes of the output channels; None for those of the layer's class.
        initialized: whether the mixture is about to be loaded, so that k-means on the weights would be in vain. Written by
            `get_config`.
        **overrides: fields of `DGMSConfig`, e.g. `bits=2`.

    Raises:
        TypeError, ValueError: as `DGMSConfig`.
    """

    def __init__(
        self,
        config: DGMSConfig | dict[str, Any] | None = None,
        weight: str | None = None,
        channel_axes: Sequence[int] | None = None,
        initialized: bool = False,
        **overrides: Any,
    ) -> None:
        self.config = as_config(config).replace(**overrides)
        self.weight = weight
        self.channel_axes = None if channel_axes is None else tuple(channel_axes)
        self.initialized = initialized
        self._layer: Any = lambda: None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the mixture's variables and starts it from the weight as it is now.

        Args:
            tensor_shape: shape of the weight.
            name: the weight's name in its layer.
            layer: tfmot's wrapper around the layer; owns the variables.

        Returns:
            `{"start": variable, "learned": variable}`; see `MixtureQuantizer`.

        Raises:
            ValueError: weights that are not finite; the message names the layer.
        """
        inner = getattr(layer, "layer", layer)
        if self.weight is None:
            self.weight = name
        if self.channel_axes is None:
            known = {t.weight: t.channel_axes for t in targets_of(inner)}
            self.channel_axes = known.get(self.weight, (-1,))
        self._layer = weakref.ref(inner)
        if inner is not layer:
            behave_like(layer, inner)
            make_freezable(layer)
            track_before(layer, inner)
        self.quantizer = weight_quantizer(self.config, tuple(int(n) for n in tensor_shape), self.channel_axes)
        latent = float32_value(resolve(inner, self.weight)).numpy()
        start = self.quantizer.initial_start(latent, inner.name, quick=self.initialized)
        self.initialized = True
        return add_variables(
            layer, self.quantizer, start, f"{self.weight.replace('.', '_')}_{self.quantizer.name_mark}"
        )

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert in the mixture's math, and looking takes seconds
    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **kwargs: Any) -> Any:
        """The weight as its layer uses it.

        Args:
            inputs: the latent weights.
            training: whether the model trains.
            weights: what `build` returned.

        Returns:
            float32, the shape of `inputs`.
        """
        layer = self._layer()
        trains = training and (layer is None or layer.trainable)
        return self.quantizer.quantized(float32_value(inputs), weights["start"], weights["learned"], trains)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor as JSON types; the mixture itself is in the wrapper's variables."""
        return {
            "config": self.config.get_config(),
            "weight": self.weight,
            "channel_axes": None if self.channel_axes is None else list(self.channel_axes),
            "initialized": self.initialized,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DGMSQuantizer):
            return NotImplemented
        return (self.config, self.weight, self.channel_axes) == (other.config, other.weight, other.channel_axes)

    __hash__ = None  # type: ignore[assignment]
