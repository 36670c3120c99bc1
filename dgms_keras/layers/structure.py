"""The layers of a model in call order, with their paths, and copies of models with some layers replaced."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import tree

from dgms_keras.backend_ops import to_numpy
from dgms_keras.layers.keras_internals import is_graph, trusted
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import children
from dgms_keras.weights.plan import Place

# Given a layer and its path, returns the layer to put in its place, or None for an ordinary copy.
Replace = Callable[[keras.layers.Layer, str], keras.layers.Layer | None]


def check_built(model: keras.Model) -> None:
    """Raises a ValueError unless the model's variables exist."""
    is_known = getattr(model, "inputs", None) if is_graph(model) else model.variables
    if not model.built or not is_known:
        raise ValueError(
            f"`model` must be built: call it on data, or give it an Input. Received: model {model.name!r}, not built"
        )


def places(model: keras.Model, prefix: str = "") -> list[Place]:
    """The layers of a Sequential or Functional model and of such models inside it, in call order, each once."""
    return list(_places(model, prefix, set()))


def _places(model: keras.Model, prefix: str, seen: set[int]) -> Iterator[Place]:
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = f"{prefix}{layer.name}"
        if is_graph(layer):
            yield from _places(layer, f"{path}/", seen)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield Place(path, layer, quantized=isinstance(layer, DGMSWrapper))


def named_children(layer: Any) -> list[tuple[str, str, Any]]:
    """(name, dotted path, layer) of the layers directly inside a layer or model. The name is the layer's own; where two have
    the same, it is the path."""
    found = children(layer)
    names = [inner.name for _, inner in found]
    return [
        (inner.name if names.count(inner.name) == 1 else path.replace(".", "/"), path, inner) for path, inner in found
    ]


def find(model: keras.Model, layer_class: type) -> list[tuple[str, Any]]:
    """(path, layer) of all layers of a class, in any kind of model and as deep as they are, each once."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()

    def visit(layer: Any, path: str) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if isinstance(layer, layer_class):
            found.append((path, layer))
            return
        for name, _, inner in named_children(layer):
            visit(inner, f"{path}/{name}" if path else name)

    visit(model, "")
    return found


class Copier:
    """Copies Sequential and Functional models, nested and shared ones included; a layer met twice is copied once.

    The copy has the original's names, structure of inputs and outputs, state (weights, statistics, seeds, vocabularies) and
    `trainable` flags. It is not compiled.

    Args:
        replace: may put another layer in a layer's place. It is responsible for that layer's state.
    """

    def __init__(self, replace: Replace) -> None:
        self._replace = replace
        self._copies: dict[int, Any] = {}
        self._pairs: list[tuple[Any, Any]] = []  # original and copy, an inner one before the model around it
        self._done: set[int] = set()  # originals whose state is copied

    def copy(self, model: keras.Model) -> keras.Model:
        """The copy of a model.

        Raises:
            ValueError: the model is not built, or one of its layers cannot be copied; the message names it.
        """
        check_built(model)
        copied = self._copies.get(id(model)) or self._model(model, "")
        for original, copy in reversed(self._pairs):  # outer first: setting `trainable` sets it for the layers inside
            copy_trainable(original, copy)
        return copied

    def copy_of(self, layer: Any) -> Any:
        """The copy that was made of a layer or model; None if there is none."""
        return self._copies.get(id(layer))

    def _model(self, model: keras.Model, prefix: str) -> keras.Model:
        if isinstance(model, keras.Sequential):
            copy = self._sequential(model, prefix)
        else:
            copy = self._functional(model, prefix)
        self._copies[id(model)] = copy
        self._pairs.append((model, copy))
        return copy

    def _sequential(self, model: keras.Sequential, prefix: str) -> keras.Sequential:
        inputs = [fresh_copy(tensor._keras_history.operation) for tensor in model.inputs]
        layers = [self._operation(layer, prefix) for layer in model.layers]
        copy = keras.Sequential([*inputs, *layers], name=model.name)
        for original, layer in zip(model.layers, layers, strict=True):
            self._copy_state(original, layer)
        return copy

    def _functional(self, model: keras.Model, prefix: str) -> keras.Model:
        inputs = tree.map_structure(lambda x: fresh_copy(x._keras_history.operation).output, model.input)
        outputs = model._run_through_graph(inputs, operation_fn=lambda operation: self._operation(operation, prefix))
        for operation in model.operations:
            if id(operation) in self._copies:
                self._copy_state(operation, self._copies[id(operation)])
        return _rebuilt(model, inputs, outputs)

    def _operation(self, operation: Any, prefix: str) -> Any:
        """The copy of one node's layer (or plain operation, like `x + 1`)."""
        if id(operation) in self._copies:
            return self._copies[id(operation)]
        path = f"{prefix}{operation.name}"
        if is_graph(operation):
            return self._model(operation, f"{path}/")
        copy = self._replace(operation, path) if isinstance(operation, keras.layers.Layer) else None
        if copy is None:
            copy = fresh_copy(operation)
        self._copies[id(operation)] = copy
        return copy

    def _copy_state(self, original: Any, copy: Any) -> None:
        """Values of an ordinary copy's variables; called when the copy is built. Once per layer."""
        if is_graph(original) or not isinstance(original, keras.layers.Layer) or id(original) in self._done:
            return
        self._done.add(id(original))
        self._pairs.append((original, copy))
        if type(original) is type(copy):
            copy_state(original, copy)


def _rebuilt(model: keras.Model, inputs: Any, outputs: Any) -> keras.Model:
    """A Functional model of the original's class, where its constructor takes inputs and outputs as keras.Model's does."""
    parameters = list(inspect.signature(type(model).__init__).parameters)[1:]
    if parameters[:2] == ["inputs", "outputs"] or parameters[:2] == ["args", "kwargs"]:
        return type(model)(inputs=inputs, outputs=outputs, name=model.name)
    warnings.warn(
        f"model {model.name!r} is copied as a plain keras.Model: the constructor of its class {type(model).__name__} does not "
        "take `inputs` and `outputs`, so methods of that class (such as train_step) are not part of the copy",
        UserWarning,
        stacklevel=2,
    )
    return keras.Model(inputs=inputs, outputs=outputs, name=model.name)


def built_copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A fresh layer with the same config, built for the same shapes if its class can do that without a call. Raises as
    `fresh_copy`."""
    copy = fresh_copy(layer)
    config = layer.get_build_config() if layer.built else None
    if config and not copy.built and type(layer).build is not keras.layers.Layer.build:
        copy.build_from_config(config)
        copy.built = True
    return copy


def fresh_copy(operation: Any) -> Any:
    """A fresh layer or operation with the same config.

    Raises:
        ValueError: its class cannot be rebuilt from its config; the message says what to do.
    """
    try:
        with trusted():
            return type(operation).from_config(operation.get_config())
    except Exception as error:
        raise ValueError(
            f"every layer must be copyable by `from_config(get_config())`. Received: layer {operation.name!r} of class "
            f"{type(operation).__name__}, which fails with {type(error).__name__}: {_short(error)}. Give the class a `get_config`, or "
            "leave the model's structure to you: wrap layers by hand with dgms_keras.DGMSWrapper"
        ) from error


def _short(error: Exception) -> str:
    """The message on one line, of bearable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def copy_state(original: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Copies the values of all variables (weights, statistics, seeds) and assets (vocabularies).

    Raises:
        ValueError: the copy has other variables; the message names the layer.
    """
    ours, theirs = copy.variables, original.variables
    if [tuple(v.shape) for v in ours] != [tuple(v.shape) for v in theirs]:
        raise ValueError(
            f"layer {original.name!r} ({type(original).__name__}) cannot be copied: rebuilt from its config it has "
            f"{len(ours)} variables of shapes {[tuple(v.shape) for v in ours]}, the original {len(theirs)} of shapes "
            f"{[tuple(v.shape) for v in theirs]}. Its `get_config` or `build` misses something"
        )
    for ours_v, theirs_v in zip(ours, theirs, strict=True):
        ours_v.assign(to_numpy(theirs_v))
    if type(copy).load_own_variables is not keras.layers.Layer.load_own_variables:
        store: dict[str, Any] = {}  # some preprocessing layers (Normalization) compute more from what they load
        original.save_own_variables(store)
        copy.load_own_variables({key: to_numpy(value) for key, value in store.items()})
    if hasattr(original, "save_assets") and hasattr(copy, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            original.save_assets(folder)
            copy.load_assets(folder)


def copy_trainable(original: Any, copy: Any) -> None:
    """`trainable` of a layer, of the layers inside it, and of single variables."""
    if copy.trainable != original.trainable:
        copy.trainable = original.trainable
    if is_graph(original) or type(original) is not type(copy):
        return
    for inner, inner_copy in zip(original._flatten_layers(), copy._flatten_layers(), strict=True):
        if inner_copy.trainable != inner.trainable:
            inner_copy.trainable = inner.trainable
    for v, v_copy in zip(original.variables, copy.variables, strict=True):
        if v_copy.trainable != v.trainable:
            v_copy.trainable = v.trainable
