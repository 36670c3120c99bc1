"""The choices of an int8 export that studies compare; the defaults are what users want."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

Scale = Literal["mse", "max"]
InferenceType = Literal["float32", "int8"]


@dataclasses.dataclass(frozen=True)
class Int8Options:
    """How float codebooks become int8.

    Args:
        scale: `"mse"` searches the scale of each codebook with the smallest squared error of the weights; `"max"` maps the
            largest magnitude to 127, as dense quantisation does.
        bias_correction: add to each bias the mean of what rounding the codebook takes from its channel's output.

    Raises:
        ValueError: an unknown value.
    """

    scale: Scale = "mse"
    bias_correction: bool = True

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            raise ValueError(f"`scale` must be 'mse' or 'max'. Received: scale={self.scale!r}")
        if not isinstance(self.bias_correction, bool):
            raise ValueError(
                f"`bias_correction` must be True or False. Received: bias_correction={self.bias_correction!r}"
            )


def check_inference_type(value: str) -> None:
    """Raises a ValueError for an unknown type of inputs and outputs."""
    if value not in get_args(InferenceType):
        raise ValueError(f"`inference_type` must be 'float32' or 'int8'. Received: inference_type={value!r}")
