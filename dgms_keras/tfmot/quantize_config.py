"""`DGMSQuantizeConfig`: a tfmot QuantizeConfig whose weights share their values by Gaussian mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import QuantizeConfig

from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.targets import Target, refusal, resolve, takes_floats, targets_of
from dgms_keras.tfmot.activation_quantizer import DGMSActivationQuantizer
from dgms_keras.tfmot.quantizer import DGMSQuantizer
from dgms_keras.tfmot.tf_keras_internals import change_inputs_of_one_call, put_for_one_call


def unsupported_message(layer: Any) -> str:
    """What is wrong with a layer that has no weight to share."""
    return (
        "a layer quantised by DGMS must be of a supported class, or registered with dgms_keras.register_layer. "
        f"Received: layer {layer.name!r} of class {type(layer).__name__}"
    )


@tf_keras.utils.register_keras_serializable(package="dgms_keras")
class DGMSQuantizeConfig(QuantizeConfig):
    """Quantises the weights of a layer of any supported class (Conv, Dense, Depthwise, Separable, Embedding, registered ones, ...).

        tfmot.quantization.keras.quantize_annotate_layer(tf_keras.layers.Dense(10), DGMSQuantizeConfig(bits=4))

    Args:
        config: a `DGMSConfig` (or its `get_config()`); its `layers` and `skip_first_last` mean nothing here, its `overrides` are looked
            up under the layer's name.
        targets: which weights: (dotted name, channel axes) pairs; None for those of the layer's class.
        weight_configs: other configs for single weights, by dotted name.
        initialized: whether the mixtures are about to be loaded. Written by `get_config`.
        **overrides: fields of `DGMSConfig`, e.g. `bits=2`.

    Raises:
        TypeError, ValueError: as `DGMSConfig`.
    """

    def __init__(
        self,
        config: DGMSConfig | Mapping[str, Any] | None = None,
        targets: Sequence[tuple[str, Sequence[int]]] | None = None,
        weight_configs: Mapping[str, DGMSConfig | Mapping[str, Any]] | None = None,
        initialized: bool = False,
        **overrides: Any,
    ) -> None:
        self.config = as_config(config).replace(**overrides)
        self.targets = None if targets is None else tuple(Target(w, tuple(axes)) for w, axes in targets)
        self.weight_configs = {w: as_config(c) for w, c in (weight_configs or {}).items()}
        self.initialized = initialized
        self._quantizers: dict[str, DGMSQuantizer] = {}

    def _targets(self, layer: Any) -> tuple[Target, ...]:
        targets = tuple(targets_of(layer)) if self.targets is None else self.targets
        if not targets:
            raise ValueError(unsupported_message(layer))
        reason = refusal(layer)
        if reason:
            raise ValueError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be quantised: {reason}")
        return targets

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, DGMSQuantizer]]:
        """(variable, quantizer) of each quantised weight of a built layer.

        Raises:
            ValueError: the layer has no weight to share; the message names it.
        """
        found = []
        for target in self._targets(layer):
            if target.weight not in self._quantizers:
                config = self.weight_configs.get(target.weight, self.config).for_layer(layer.name)
                self._quantizers[target.weight] = DGMSQuantizer(
                    config, target.weight, target.channel_axes, initialized=self.initialized
                )
            found.append((resolve(layer, target.weight), self._quantizers[target.weight]))
        return found

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, DGMSActivationQuantizer]]:
        """With `activation_bits`, the quantiser of the layer's *inputs* (behind the identity: tfmot knows activations only); else
        none."""
        config = self._layer_config(layer)
        if config.activation_bits is None or not takes_floats(layer):
            return []
        return [(tf_keras.activations.linear, DGMSActivationQuantizer(config))]

    def set_quantize_weights(self, layer: Any, quantize_weights: Sequence[Any]) -> None:
        """Makes the layer compute with these weights, in its next call.

        Raises:
            ValueError: another number of weights, or another shape; the message names the layer.
        """
        targets = self._targets(layer)
        if len(quantize_weights) != len(targets):
            raise ValueError(
                f"`quantize_weights` must have one entry for each of {', '.join(t.weight for t in targets)}. "
                f"Received: {len(quantize_weights)} (layer {layer.name!r})"
            )
        for target, weight in zip(targets, quantize_weights, strict=True):
            owner = resolve(layer, target.sublayer)
            before = getattr(owner, target.attribute)
            if tuple(before.shape) != tuple(weight.shape):
                raise ValueError(
                    f"a quantised weight must have the shape of {target.weight!r}, {tuple(before.shape)}. "
                    f"Received: {tuple(weight.shape)} (layer {layer.name!r})"
                )
            put_for_one_call(layer, owner, target.attribute, tf.cast(weight, owner.compute_dtype))

    def set_quantize_activations(self, layer: Any, quantize_activations: Sequence[Any]) -> None:
        """Quantises the layer's inputs in its next call.

        Raises:
            ValueError: another number of quantisers than `get_activations_and_quantizers` gives; the message names the layer.
        """
        wanted = int(self._layer_config(layer).activation_bits is not None and takes_floats(layer))
        if len(quantize_activations) != wanted:
            raise ValueError(
                f"`quantize_activations` must have {wanted} entries. Received: {len(quantize_activations)} (layer {layer.name!r})"
            )
        if quantize_activations:
            change_inputs_of_one_call(layer, quantize_activations[0])

    def _layer_config(self, layer: Any) -> DGMSConfig:
        """The config of the layer, of its first weight where they differ."""
        first = self._targets(layer)[0].weight
        return self.weight_configs.get(first, self.config).for_layer(layer.name)

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """None."""
        return []

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor as JSON types; the mixtures are in the wrapper's variables."""
        built = any(quantizer.initialized for quantizer in self._quantizers.values())
        return {
            "config": self.config.get_config(),
            "targets": None if self.targets is None else [[t.weight, list(t.channel_axes)] for t in self.targets],
            "weight_configs": {w: c.get_config() for w, c in self.weight_configs.items()},
            "initialized": self.initialized or built,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DGMSQuantizeConfig):
            return NotImplemented
        ours = (self.config, self.targets, self.weight_configs)
        return ours == (other.config, other.targets, other.weight_configs)

    __hash__ = None  # type: ignore[assignment]
