"""Which weights of which layers are quantised: layer class -> weight attributes and their output-channel axes.

Knows Keras and tf_keras by class name and imports neither. A weight is named by a dotted path from the layer: `"kernel"`, or
`"cell.kernel"` and `"blocks.0.conv.kernel"` for the weight of a layer inside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Output-channel axes of each weight, per Keras class. A subclass of one of these is treated like its base.
_LAST = (-1,)
_DEPTHWISE = (-2, -1)  # [..., input channel, multiplier]: every pair is one output channel
_TRANSPOSED = (-2,)  # [..., output channel, input channel]
_KERAS_CLASSES: dict[str, dict[str, tuple[int, ...]]] = {
    **{f"Conv{n}D": {"kernel": _LAST} for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": {"kernel": _TRANSPOSED} for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": {"kernel": _DEPTHWISE} for n in (1, 2)},
    **{f"SeparableConv{n}D": {"depthwise_kernel": _DEPTHWISE, "pointwise_kernel": _LAST} for n in (1, 2)},
    "Dense": {"kernel": _LAST},
    "EinsumDense": {},  # by its equation, see _einsum_axes
    "Embedding": {"embeddings": _LAST},
}

# Weights that tf_keras calls otherwise than Keras 3.
_TF_KERAS_NAMES = {(f"DepthwiseConv{n}D", "kernel"): "depthwise_kernel" for n in (1, 2)}

# Keras classes whose weights with several axes are no matrices to compress.
_NOT_WORTH = (
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "PReLU",
    "RMSNormalization",
    "UnitNormalization",
)
# Keras wrappers that write to the weights of the layer inside them while it runs: a quantised weight would be written over.
_NOT_ENTERED = ("SpectralNormalization",)

_REGISTERED: dict[type, dict[str, tuple[int, ...]]] = {}


@dataclasses.dataclass(frozen=True)
class Target:
    """One weight to quantise.

    Args:
        weight: dotted path from the layer to the variable.
        channel_axes: the axis, or axes, of the output channels.
        standard_name: the weight's name in Keras 3, where the layer's own Keras has another one.
    """

    weight: str
    channel_axes: tuple[int, ...]
    standard_name: str | None = None

    @property
    def sublayer(self) -> str:
        """Dotted path from the layer to the layer that owns the weight; empty for the layer itself."""
        return self.weight.rpartition(".")[0]

    @property
    def attribute(self) -> str:
        """The weight's name in the layer that owns it."""
        return self.weight.rpartition(".")[2]

    @property
    def public_name(self) -> str:
        """The weight's name in files and reports: the same for both Kerases."""
        return self.standard_name or self.attribute


def register_layer(
    layer_class: type, weights: Mapping[str, int | Sequence[int]] | Sequence[str] | str = "kernel"
) -> type:
    """Makes `quantize_apply` and `DGMSWrapper` quantise a layer class of your own, or one that is not supported by itself.

        dgms_keras.register_layer(MyDense, {"kernel": -1})
        dgms_keras.register_layer(keras.layers.LSTM, {"cell.kernel": -1, "cell.recurrent_kernel": -1})

    Args:
        layer_class: the class; its subclasses are included.
        weights: name of the weight -> its output-channel axis or axes (only channel groups use them), or just names, whose
            channel axis is then the last. A dotted name reaches a weight of a layer inside the layer.

    Returns:
        `layer_class`.

    Raises:
        TypeError, ValueError: not a class, or no weight, or a name or an axis that cannot be one.
    """
    if not isinstance(layer_class, type):
        raise TypeError(f"`layer_class` must be a class. Received: {layer_class!r}")
    if isinstance(weights, str):
        weights = (weights,)
    if not isinstance(weights, Mapping):
        weights = dict.fromkeys(weights, -1)
    if not weights:
        raise ValueError(f"`weights` must name at least one weight. Received: {weights!r} (for {layer_class.__name__})")
    checked = {}
    for name, axes in weights.items():
        axes = (axes,) if isinstance(axes, int) else tuple(axes)
        if not isinstance(name, str) or not all(name.split(".")):
            raise ValueError(
                f"`weights` must name weights, like 'kernel'. Received: {name!r} (for {layer_class.__name__})"
            )
        if not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
            raise ValueError(f"`weights` must map to axes. Received: {name!r}: {axes!r} (for {layer_class.__name__})")
        checked[name] = axes
    _REGISTERED[layer_class] = checked
    return layer_class


def resolve(layer: Any, path: str) -> Any:
    """The object at a dotted path: attributes, list positions, dict keys, and layers of a nested model by name.

    Raises:
        AttributeError: there is nothing at the path; the message names layer and path.
    """
    found = layer
    for step in path.split(".") if path else ():
        try:
            if isinstance(found, Mapping):
                found = found[step]
            elif isinstance(found, Sequence):
                found = found[int(step)]
            elif _is_graph_model(found):
                found = found.get_layer(step)
            else:
                found = getattr(found, step)
        except (AttributeError, KeyError, IndexError, ValueError) as error:
            raise AttributeError(
                f"a weight to quantise must exist. Received: {path!r}, of which {step!r} is missing (layer {layer.name!r})"
            ) from error
    return found


def targets_of(layer: Any) -> list[Target]:
    """The weights of a layer that are quantised, those of the layers inside it included; empty if there are none."""
    spec = _spec(layer)
    if spec is not None:
        return [_target(layer, name, axes) for name, axes in spec.items()]
    return [
        dataclasses.replace(target, weight=f"{step}.{target.weight}")
        for step, inner in sublayers(layer)
        for target in targets_of(inner)
    ]


def _target(layer: Any, name: str, axes: tuple[int, ...]) -> Target:
    for cls in type(layer).__mro__:
        other = _TF_KERAS_NAMES.get((cls.__name__, name))
        if other is not None and cls.__module__.startswith("tf_keras."):
            return Target(other, axes, standard_name=name)
    return Target(name, axes)


def unsupported(layer: Any, inside: bool = True) -> list[tuple[str, str]]:
    """(dotted path, weight name) of weights that would be worth quantising but belong to no supported layer.

    Args:
        layer: the layer.
        inside: whether to look into the layers inside it, too.

    The weight's name is `variable_name` of it.
    """
    if _spec(layer) is not None:
        return []
    found = []
    if not any(name in _keras_names(layer) for name in _NOT_WORTH):
        found = [("", variable_name(v)) for v in _own_variables(layer) if _is_worth(v)]
    if not inside:
        return found
    if any(name in _keras_names(layer) for name in _NOT_ENTERED):
        found += [(step, t.weight) for step, inner in children(layer) for t in targets_of(inner)]
    for step, inner in sublayers(layer):
        found += [(f"{step}.{path}" if path else step, name) for path, name in unsupported(inner)]
    return found


def mixture_name(path: str, target: Target, targets: Sequence[Target]) -> str:
    """The name of one weight's mixture.

    Args:
        path: the path of the quantised layer in its model.
        target: the weight.
        targets: all quantised weights of the layer.

    Returns:
        The path of the layer that owns the weight (the layer at `path`, or one inside it: "attention/_query_dense"), with the
        weight's name behind it where that layer has several: "conv/depthwise_kernel".
    """
    siblings = [t for t in targets if t.sublayer == target.sublayer]
    parts = [path, target.sublayer.replace(".", "/"), target.public_name if len(siblings) > 1 else ""]
    return "/".join(part for part in parts if part)


def is_quantizable(layer: Any) -> bool:
    """Whether the class itself is supported (built in or registered), so that the layer needs no look inside."""
    return _spec(layer) is not None


def refusal(layer: Any) -> str | None:
    """Why a supported layer's weights cannot be shared all the same; None if they can."""
    for inner in (layer, *(inner for _, inner in _below(layer))):
        if getattr(inner, "lora_enabled", False):
            return "it has LoRA weights; merge them into the kernel first (save_weights into a layer without LoRA does)"
        mode = getattr(inner, "quantization_mode", None)
        if mode is not None:
            return f"it is already quantised by Keras ({mode}); start from the float layer"
    return None


def takes_floats(layer: Any) -> bool:
    """Whether the layer computes with its inputs (an Embedding looks them up)."""
    return "Embedding" not in _keras_names(layer)


def sublayers(layer: Any) -> list[tuple[str, Any]]:
    """The `children` of a layer whose weights may be quantised; empty for wrappers that write to those weights."""
    if any(name in _keras_names(layer) for name in _NOT_ENTERED):
        return []
    return children(layer)


def children(layer: Any) -> list[tuple[str, Any]]:
    """(dotted path, layer) of the layers directly inside a layer, each once, at its first place: in its attributes, lists,
    tuples and dicts, or the layers of a nested model by name."""
    found: dict[int, tuple[str, Any]] = {}
    for path, inner in all_places(layer):
        found.setdefault(id(inner), (path, inner))
    return list(found.values())


def all_places(layer: Any) -> list[tuple[str, Any]]:
    """Like `children`, with every place of a layer that is held in several."""
    if _is_graph_model(layer):
        return [(inner.name, inner) for inner in layer.layers]
    directly = _directly_inside(layer)
    tracked = {id(inner) for inner in directly}
    found = []
    for name, value in list(vars(layer).items()):
        if name in ("_layers", "_functional", "_metrics", "_tracker") or name.startswith("_self_"):  # bookkeeping
            continue
        found += [(path, item) for path, item in _items(name, value) if id(item) in tracked]
    reached = {id(inner) for _, inner in found}
    for index, inner in enumerate(directly):  # held by something else, e.g. an object of its own
        if id(inner) not in reached:
            found.append((f"_layers.{index}", inner))
    return found


def _directly_inside(layer: Any) -> list[Any]:
    """The layers that a layer tracks."""
    if hasattr(layer, "_self_tracked_trackables"):  # tf_keras
        return list(layer._flatten_layers(recursive=False, include_self=False))
    return list(getattr(layer, "_layers", ()))


def _below(layer: Any) -> Iterator[tuple[str, Any]]:
    for step, inner in children(layer):
        yield step, inner
        for path, deeper in _below(inner):
            yield f"{step}.{path}", deeper


def _items(path: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The value itself, or what lists and dicts hold, with dotted paths."""
    if depth > 8:  # a container that holds itself
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str) and "." not in key:
                yield from _items(f"{path}.{key}", item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _items(f"{path}.{index}", item, depth + 1)
    else:
        yield path, value


def _keras_names(layer: Any) -> list[str]:
    """Names of the layer's classes that belong to Keras or tf_keras."""
    return [c.__name__ for c in type(layer).__mro__ if c.__module__.partition(".")[0] in ("keras", "tf_keras")]


def _is_graph_model(layer: Any) -> bool:
    """Whether this is a Sequential or a Functional model, i.e. its layers are known by name."""
    return any(name in ("Sequential", "Functional") for name in _keras_names(layer)) and hasattr(layer, "get_layer")


def _spec(layer: Any) -> dict[str, tuple[int, ...]] | None:
    for cls in type(layer).__mro__:
        if cls in _REGISTERED:
            return _REGISTERED[cls]
        if cls.__module__.partition(".")[0] in ("keras", "tf_keras") and cls.__name__ in _KERAS_CLASSES:
            if cls.__name__ == "EinsumDense":
                return {"kernel": _einsum_axes(layer.equation)}
            return _KERAS_CLASSES[cls.__name__]
    return None


def _einsum_axes(equation: str) -> tuple[int, ...]:
    """The axes of an EinsumDense kernel that appear in its output: `"abc,cde->abde"` -> (1, 2)."""
    inputs, _, output = equation.replace(" ", "").replace("...", "").partition("->")
    kernel = inputs.partition(",")[2]
    return tuple(axis for axis, letter in enumerate(kernel) if letter in output)


def variable_name(variable: Any) -> str:
    """A variable's own name: "kernel", for tf_keras's "block/conv/kernel:0" as well."""
    return variable.name.rpartition("/")[2].partition(":")[0]


def _own_variables(layer: Any) -> list[Any]:
    """Variables that the layer itself created to be trained (it may be frozen now), not those of layers inside it."""
    created: Any = getattr(layer, "_trainable_variables", None)  # Keras 3
    if created is None:
        created = getattr(layer, "_trainable_weights", ())  # tf_keras
    inside = {id(v) for _, inner in children(layer) for v in inner.weights}
    return [v for v in created if id(v) not in inside]


def _is_worth(variable: Any) -> bool:
    """A float matrix of any rank: at least two axes longer than 1."""
    return sum(n > 1 for n in variable.shape) >= 2 and "float" in str(getattr(variable.dtype, "name", variable.dtype))
