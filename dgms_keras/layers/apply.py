"""`quantize_apply` and its inverse `strip`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import Mixture
from dgms_keras.layers.batch_norm_signs import make_scales_positive
from dgms_keras.layers.order import first_and_last
from dgms_keras.layers.structure import Copier, Place, copy_state, is_graph, places
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import Target, targets_of


def quantize_apply(
    model: keras.Model,
    config: DGMSConfig | None = None,
    *,
    mixtures: Mapping[str, Mixture] | None = None,
    in_place: bool = False,
    **overrides: Any,
) -> keras.Model:
    """A copy of a built Keras model whose layers share their weights by Gaussian mixtures; see `dgms_keras.quantize_apply`."""
    config = _config(config, overrides)
    if not is_graph(model):
        raise ValueError("subclassed models are not supported yet")
    plan = Plan(model, config)
    started: dict[int, tuple[keras.layers.Layer, DGMSWrapper]] = {}

    def replace(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        chosen = plan.chosen.get(id(layer))
        if chosen is None:
            return None
        wrapper = chosen.wrap(type(layer).from_config(layer.get_config()))
        started[id(layer)] = (layer, wrapper)
        return wrapper

    copy = Copier(replace).copy(model)
    for layer, wrapper in started.values():
        copy_state(layer, wrapper.layer)
    make_scales_positive(copy)
    _start_mixtures([(chosen.path, started[key][1]) for key, chosen in plan.chosen.items()], mixtures)
    return copy


def _config(config: DGMSConfig | None, overrides: Mapping[str, Any]) -> DGMSConfig:
    if config is None:
        config = DGMSConfig()
    if not isinstance(config, DGMSConfig):
        raise TypeError(f"`config` must be a DGMSConfig. Received: {config!r}")
    return config.replace(**overrides)


class Chosen:
    """A layer that is to be quantised: its path, and the weights with their configs."""

    def __init__(self, place: Place, weights: list[tuple[Target, DGMSConfig]]) -> None:
        self.path = place.path
        self._weights = weights

    def wrap(self, layer: keras.layers.Layer) -> DGMSWrapper:
        """A wrapper around a fresh copy of the layer, whose mixtures are yet to be started."""
        configs = {t.weight: c for t, c in self._weights}
        first = next(iter(configs.values()))
        return DGMSWrapper.unstarted(
            layer,
            config=first,
            targets=[(t.weight, t.channel_axes) for t, _ in self._weights],
            weight_configs={w: c for w, c in configs.items() if c != first},
        )


class Plan:
    """Which layers of a Sequential or Functional model are quantised, and how.

    Attributes:
        chosen: id of the layer -> `Chosen`, in call order.
    """

    def __init__(self, model: keras.Model, config: DGMSConfig) -> None:
        self._config = config
        found = places(model)
        targets = {id(p.layer): targets_of(p.layer) for p in found}
        skipped: set[int] = set()
        if config.skip_first_last:
            first, last = first_and_last(model, lambda l: isinstance(l, DGMSWrapper) or bool(targets[id(l)]))
            skipped = first | last
        self.chosen: dict[int, Chosen] = {}
        for place in found:
            if isinstance(place.layer, DGMSWrapper) or id(place.layer) in skipped or not targets[id(place.layer)]:
                continue
            weights = [
                (t, config.for_layer(place.path)) for t in targets[id(place.layer)] if config.selects(place.path)
            ]
            if weights:
                self.chosen[id(place.layer)] = Chosen(place, weights)


def _start_mixtures(wrappers: list[tuple[str, DGMSWrapper]], given: Mapping[str, Mixture] | None) -> None:
    for path, wrapper in wrappers:
        for target in wrapper.targets:
            wrapper.start_mixture(target, path=path)


def strip(model: keras.Model) -> keras.Model:
    """The plain model with hard weights (Eq. 4) and the original layer names; see `dgms_keras.strip`."""
    stripped: list[tuple[DGMSWrapper, keras.layers.Layer]] = []

    def replace(layer: keras.layers.Layer, path: str) -> keras.layers.Layer | None:
        if not isinstance(layer, DGMSWrapper):
            return None
        inner = type(layer.layer).from_config(layer.layer.get_config())
        stripped.append((layer, inner))
        return inner

    copy = Copier(replace).copy(model)
    for wrapper, inner in stripped:
        copy_state(wrapper.layer, inner)
        wrapper.write_hard_weights(inner)
    return copy
