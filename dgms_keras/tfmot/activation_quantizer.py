"""`DGMSActivationQuantizer`: a tfmot Quantizer for the inputs of a layer."""

from __future__ import annotations

from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

from dgms_keras.activations.quantizer import NAME_MARK, ActivationQuantizer
from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.tfmot.quantizer import add_variables


class DGMSActivationQuantizer(Quantizer):
    """Quantises activations as `activation_bits` and `activation_method` of a config say, once they are calibrated
    (`dgms_keras.calibrate_activations`).

    Args:
        config: a `DGMSConfig` (or its `get_config()`) with `activation_bits`.
        **overrides: fields of `DGMSConfig`, e.g. `activation_bits=8`.

    Raises:
        ValueError: no `activation_bits`; or as `DGMSConfig`.
    """

    def __init__(self, config: DGMSConfig | dict[str, Any] | None = None, **overrides: Any) -> None:
        self.config = as_config(config).replace(**overrides)
        quantizer = ActivationQuantizer.of(self.config)
        if quantizer is None:
            raise ValueError(
                "`activation_bits` must be 2, 3, 4 or 8 to quantise activations. Received: activation_bits=None"
            )
        self.quantizer = quantizer

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the variables in tfmot's wrapper `layer`."""
        return add_variables(layer, self.quantizer, self.quantizer.placeholder_start(), f"{name}_{NAME_MARK}")

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **kwargs: Any) -> Any:
        """The inputs, quantised: the same in training and in inference."""
        return self.quantizer.quantized(inputs, weights["start"], weights.get("learned"))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor as JSON types."""
        return {"config": self.config.get_config()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DGMSActivationQuantizer):
            return NotImplemented
        return self.config == other.config

    __hash__ = None  # type: ignore[assignment]
