"""Names of tensors by the layers they belong to.

The converter names a tensor after the TensorFlow operators that were fused into it, each with its name scopes:
"net_1/bn2_1/batchnorm/add_1;net_1/dw_1/depthwise". Scopes and operators depend on the Keras (3 or tf_keras), its version and what
was called before. What stays is the layers: "dw;bn2". So equal models become equal files, and smaller ones.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

_NUMBER = re.compile(r"_\d+$")

# Name of a layer -> the layers inside it.
Tree = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LayerNames:
    """The names of a model's layers.

    Args:
        model: name of the model.
        layers: its layers, and the layers inside them.
    """

    model: str
    layers: Tree

    @classmethod
    def of(cls, model: Any) -> LayerNames:
        """Those of a Keras or tf_keras model."""
        return cls(model.name, _tree(model, ()))

    def of_tensor(self, name: str) -> str:
        """A tensor's new name: the paths of its layers in alphabetical order (each Keras has an order of its own), with ";" between;
        without a layer, the operator's name."""
        paths = {self._path(part) for part in name.split(";")} - {""}
        return ";".join(sorted(paths)) or _NUMBER.sub("", name.split(";")[0].split("/")[-1])

    def _path(self, part: str) -> str:
        first, *steps = part.split("/")
        numbered = first != self.model  # the model's scope has got a number, and so have the scopes inside it
        if _NUMBER.sub("", first) != _NUMBER.sub("", self.model):
            steps = [first, *steps]
        found, inside = [], self.layers
        for step in steps:
            bare = _NUMBER.sub("", step)
            likely, other = (bare, step) if numbered else (step, bare)
            layer = next((name for name in (likely, other) if name in inside), None)
            if layer is not None:
                found.append(layer)
                inside = inside[layer]
        return "/".join(found)


def _tree(layer: Any, around: tuple[int, ...]) -> Tree:
    if not hasattr(layer, "_flatten_layers") or id(layer) in around:
        return {}
    inner = layer._flatten_layers(recursive=False, include_self=False)
    return {each.name: _tree(each, (*around, id(layer))) for each in inner}
