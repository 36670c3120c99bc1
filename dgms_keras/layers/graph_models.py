"""Sequential and Functional models, with wrappers in place of layers and back: copies along the graph."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import Mixture
from dgms_keras.layers.batch_norm_signs import make_scales_positive
from dgms_keras.layers.order import first_and_last
from dgms_keras.layers.structure import Copier, built_copy, check_built, copy_state, copy_trainable, places
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import targets_of
from dgms_keras.weights.plan import Plan


def quantized_copy(model: keras.Model, config: DGMSConfig, mixtures: Mapping[str, Mixture] | None) -> keras.Model:
    """See `quantize_apply`."""
    check_built(model)
    found = places(model)
    first: set[int] = set()
    last: set[int] = set()
    if config.skip_first_last:
        first, last = first_and_last(model, lambda layer: isinstance(layer, DGMSWrapper) or bool(targets_of(layer)))
    plan = Plan(found, first, last, config)
    mixtures = plan.check_mixtures(mixtures)
    wrapped: dict[int, DGMSWrapper] = {}

    def replace(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        if id(layer) not in plan.chosen:
            return None
        wrapped[id(layer)] = DGMSWrapper.unstarted(built_copy(layer), plan.chosen[id(layer)])
        return wrapped[id(layer)]

    copy = Copier(replace).copy(model)
    for key, wrapper in wrapped.items():
        copy_state(plan.chosen[key].layer, wrapper.layer)
        copy_trainable(plan.chosen[key].layer, wrapper.layer)
    make_scales_positive(copy, wrapped.values())
    for key, wrapper in wrapped.items():
        plan.chosen[key].start(wrapper.shared_weights(plan.chosen[key].path), mixtures)
    return copy


def stripped_copy(model: keras.Model) -> keras.Model:
    """See `strip`."""
    stripped: list[tuple[DGMSWrapper, keras.layers.Layer]] = []

    def replace(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        if not isinstance(layer, DGMSWrapper):
            return None
        stripped.append((layer, built_copy(layer.layer)))
        return stripped[-1][1]

    copy = Copier(replace).copy(model)
    for wrapper, layer in stripped:
        copy_state(wrapper.layer, layer)
        copy_trainable(wrapper.layer, layer)
        wrapper.write_hard_weights(layer)
    return copy
