"""Subclassed models: layers are replaced inside the model, in attributes, lists, tuples and dicts, as deep as they are."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from dgms_keras.backend_ops import to_numpy
from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import Mixture
from dgms_keras.layers import graph_models
from dgms_keras.layers.batch_norm_signs import make_scales_positive
from dgms_keras.layers.keras_internals import is_graph
from dgms_keras.layers.structure import (
    Copier,
    built_copy,
    check_built,
    copy_state,
    copy_trainable,
    named_children,
    places,
)
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import all_places, is_quantizable, resolve
from dgms_keras.weights.plan import Place, Plan, ends_in_order


@dataclasses.dataclass(frozen=True, eq=False)
class _Slot:
    """Where a layer hangs: `parent.attribute`, `parent.list.3`, `parent.dict.key`. The layer may hang in several slots."""

    parent: keras.layers.Layer
    dotted: str
    layer: keras.layers.Layer
    path: str
    is_entered: bool  # the layers inside it hang in slots of their own


def _slots(layer: keras.layers.Layer, path: str, seen: set[int]) -> Iterator[_Slot]:
    """All slots below a layer, in attribute order. Layers of the user's own classes are entered; supported layers, Keras's own
    and Sequential or Functional models are not."""
    names = {id(inner): name for name, _, inner in named_children(layer)}
    for dotted, inner in all_places(layer):
        name = names[id(inner)]
        inner_path = f"{path}/{name}" if path else name
        ours = not type(inner).__module__.startswith("keras.")
        entered = ours and not is_graph(inner) and not is_quantizable(inner) and not isinstance(inner, DGMSWrapper)
        yield _Slot(layer, dotted, inner, inner_path, entered)
        if entered and id(inner) not in seen:
            seen.add(id(inner))
            yield from _slots(inner, inner_path, seen)


def quantize_in_place(model: keras.Model, config: DGMSConfig, mixtures: Mapping[str, Mixture] | None) -> keras.Model:
    """Replaces layers inside a subclassed model; see `quantize_apply`. On an error the model is as it was."""
    check_built(model)
    slots = list(_slots(model, "", {id(model)}))
    by_layer = {id(model): Place(model.name, model, inside=False)}  # each layer once, at its first place
    for slot in slots:
        for place in places(slot.layer, f"{slot.path}/") if is_graph(slot.layer) else [_place(slot)]:
            by_layer.setdefault(id(place.layer), place)
    found = list(by_layer.values())
    first, last = ends_in_order(found) if config.skip_first_last else (set(), set())
    plan = Plan(found, first, last, config)
    mixtures = plan.check_mixtures(mixtures)
    wrapped: dict[int, DGMSWrapper] = {}

    def replace(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        if id(layer) in plan.chosen and id(layer) not in wrapped:
            wrapped[id(layer)] = DGMSWrapper.unstarted(built_copy(layer), plan.chosen[id(layer)])
        return wrapped.get(id(layer))

    copier = Copier(replace)
    for slot in slots:
        if is_graph(slot.layer):
            copier.copy(slot.layer)
    for key, wrapper in wrapped.items():
        copy_state(plan.chosen[key].layer, wrapper.layer)
        copy_trainable(plan.chosen[key].layer, wrapper.layer)
    in_graphs = list(wrapped.values())
    for slot in slots:
        if is_graph(slot.layer):
            make_scales_positive(copier.copy_of(slot.layer), in_graphs)
        elif id(slot.layer) in plan.chosen and id(slot.layer) not in wrapped:
            wrapped[id(slot.layer)] = wrapper = DGMSWrapper.unstarted(slot.layer, plan.chosen[id(slot.layer)])
            wrapper.build()
    for key, wrapper in wrapped.items():
        plan.chosen[key].start(wrapper.shared_weights(plan.chosen[key].path), mixtures)
    _put_in_place(model, slots, lambda layer: wrapped.get(id(layer)) or copier.copy_of(layer))
    return model


def _place(slot: _Slot) -> Place:
    quantized = isinstance(slot.layer, DGMSWrapper)
    return Place(slot.path, slot.layer, inside=not slot.is_entered, quantized=quantized)


def _put_in_place(model: keras.Model, slots: list[_Slot], new_of: Any) -> None:
    """Puts new layers into the slots, and makes the model forget what it had compiled for the old ones."""
    for slot in slots:
        new = new_of(slot.layer)
        if new is None or new is slot.layer:
            continue
        tracker = slot.parent._tracker
        if tracker.is_in_store("layers", slot.layer):
            tracker.replace_tracked_value("layers", slot.layer, new)
        _set(slot.parent, slot.dotted, new)
    model.compiled = False
    model.optimizer = None
    model.train_function = model.test_function = model.predict_function = None


def _set(parent: keras.layers.Layer, dotted: str, new: keras.layers.Layer) -> None:
    before, _, last = dotted.rpartition(".")
    holder = resolve(parent, before)
    if isinstance(holder, tuple):  # cannot be changed: put a new one in its place
        items = [new if i == int(last) else item for i, item in enumerate(holder)]
        # `__class__`: TensorFlow puts a proxy around a tuple
        _set(parent, before, holder.__class__(*items) if hasattr(holder, "_fields") else tuple(items))
    elif isinstance(holder, dict):
        holder[last] = new
    elif isinstance(holder, list):
        if holder[int(last)] is not new:  # "_layers.3" is the tracker's own list
            holder[int(last)] = new
    else:
        setattr(holder, last, new)


def strip_in_place(model: keras.Model) -> keras.Model:
    """Puts the plain layers, with hard weights, back into a subclassed model."""
    slots = list(_slots(model, "", {id(model)}))
    plain: dict[int, keras.layers.Layer] = {}
    for slot in slots:
        if isinstance(slot.layer, DGMSWrapper):
            plain[id(slot.layer)] = slot.layer.layer
        elif is_graph(slot.layer) and id(slot.layer) not in plain:
            plain[id(slot.layer)] = graph_models.stripped_copy(slot.layer)
    for slot in slots:
        if isinstance(slot.layer, DGMSWrapper):
            slot.layer.write_hard_weights(slot.layer.layer)
    _put_in_place(model, slots, lambda layer: plain.get(id(layer)))
    return model


def stripped_copy(model: keras.Model) -> keras.Model:
    """A plain copy of a subclassed model with hard weights, rebuilt from its config.

    Raises:
        ValueError: the class cannot be rebuilt from its config; the message says what to do.
    """
    advice = (
        f"a subclassed model is stripped into a copy that its class rebuilds from `get_config()`. Received: model {model.name!r} "
        f"of class {type(model).__name__}, which {{}}. Give the class a `get_config`, or call strip(model, in_place=True)"
    )
    try:
        copy = _from_config(type(model), model.get_config())
        if not copy.built:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras's, where it cannot build it: said below
                copy.build_from_config(model.get_build_config())
    except Exception as error:
        raise ValueError(advice.format(f"fails with {type(error).__name__}: {error}")) from error
    hard: dict[int, Any] = {}
    ours = _plain_variables(model, hard)
    theirs = copy.variables
    if [tuple(v.shape) for v in ours] != [tuple(v.shape) for v in theirs]:
        raise ValueError(advice.format(f"then has {len(theirs)} variables instead of {len(ours)}, or other shapes"))
    for v, v_copy in zip(ours, theirs, strict=True):
        v_copy.assign(hard[id(v)] if id(v) in hard else to_numpy(v))
        v_copy.trainable = v.trainable
    return copy


def _from_config(cls: Any, config: dict[str, Any]) -> keras.Model:
    """`cls.from_config`, also for the common class whose constructor takes none of `name`, `trainable` and `dtype`."""
    try:
        return cls.from_config(dict(config))
    except TypeError:
        parameters = inspect.signature(cls.__init__).parameters
        common = ("name", "trainable", "dtype")
        if all(name in parameters for name in common):
            raise
        return cls.from_config({k: v for k, v in config.items() if k in parameters or k not in common})


def _plain_variables(layer: keras.layers.Layer, hard: dict[int, Any]) -> list[keras.Variable]:
    """The variables that a layer or model would have without wrappers, in Keras's order; the hard values of quantised ones are
    put into `hard`, by the id of the variable."""
    found: dict[int, keras.Variable] = {}

    def visit(layer: keras.layers.Layer) -> None:
        if isinstance(layer, DGMSWrapper):
            for weight in layer.shared_weights():
                hard[id(weight.latent)] = weight.freeze().dense()
            layer = layer.layer
        own = layer._trainable_variables + layer._non_trainable_variables
        for v in own + [generator.state for generator in layer._seed_generators]:
            found.setdefault(id(v), v)
        for inner in layer._layers:
            visit(inner)

    visit(layer)
    return list(found.values())
