"""Which layers of a model are quantised and how: filters, first and last layer, per-layer configs, what is left in float."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import Mixture
from dgms_keras.targets import Target, mixture_name, refusal, targets_of, unsupported
from dgms_keras.weights.shared import SharedWeight


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A layer in a model.

    Args:
        path: its name behind the names of the models and layers around it, e.g. `"backbone/conv1"`; the first such path for a
            shared layer.
        layer: the layer; never a Sequential or Functional model.
        inside: whether the layers inside it belong to this place (else they have places of their own).
        quantized: whether it is quantised already, and stays as it is.
    """

    path: str
    layer: Any
    inside: bool = True
    quantized: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """A layer that is to be quantised.

    Args:
        path: its path in the model.
        layer: the layer.
        weights: dotted weight name -> its config.
        targets: its weights to quantise.
    """

    path: str
    layer: Any
    targets: tuple[Target, ...]
    weights: Mapping[str, DGMSConfig]

    @property
    def names(self) -> list[str]:
        """The names of its mixtures."""
        return [mixture_name(self.path, target, self.targets) for target in self.targets]

    def start(self, weights: Sequence[SharedWeight], mixtures: Mapping[str, Mixture]) -> None:
        """Starts the mixtures of the layer's quantised weights: with the given ones, by k-means the others.

        Raises:
            ValueError: weights that are not finite, or a mixture with other bits or channel groups; the message names the layer.
        """
        for weight in weights:
            if weight.name in mixtures:
                weight.set_mixture(mixtures[weight.name])
            else:
                weight.restart()


class Plan:
    """Which layers of a model are quantised, and how.

    Args:
        found: the model's layers in call order.
        first, last: ids of the supported layers to leave in float, and of layers that hold such a layer.
        config: the choices.

    Attributes:
        chosen: id of the layer -> `Chosen`, in call order.

    Raises:
        ValueError: a layer that is chosen cannot be quantised (LoRA, int8); with `strict`, a layer of no supported class.

    Warns:
        UserWarning: once per layer of no supported class; filters that match nothing; nothing to quantise.
    """

    def __init__(self, found: Sequence[Place], first: set[int], last: set[int], config: DGMSConfig) -> None:
        self._config = config
        self.chosen: dict[int, Chosen] = {}
        self._names: list[str] = []  # every path and mixture name that a pattern could mean
        left_out: list[str] = []
        for place in found:
            if place.quantized:
                self._names.append(place.path)
                continue
            targets = targets_of(place.layer) if place.inside else []
            ends = _ends(targets, id(place.layer) in first, id(place.layer) in last)
            picked = [t for t in targets if self._selects(place, t)]
            left_out += [place.path for t in picked if t in ends]
            picked = [t for t in picked if t not in ends]
            if picked:
                self._choose(place, picked)
        self._report_unsupported(found)
        self._report_patterns()
        if not self.chosen and not any(p.quantized for p in found):
            _warn_nothing(left_out, config)

    def _choose(self, place: Place, targets: list[Target]) -> None:
        reason = refusal(place.layer)
        if reason:
            raise ValueError(
                f"layer {place.path!r} ({type(place.layer).__name__}) cannot be quantised: {reason}, or leave it out with `layers`"
            )
        weights = {t.weight: self._config_for(place, t, targets) for t in targets}
        self.chosen[id(place.layer)] = Chosen(place.path, place.layer, tuple(targets), weights)

    def _selects(self, place: Place, target: Target) -> bool:
        path = _owner(place.path, target)
        self._names.append(path)
        return self._config.selects(path)

    def _config_for(self, place: Place, target: Target, targets: Sequence[Target]) -> DGMSConfig:
        """The config for a weight. A pattern may name the layer, or one weight of several as `mixtures` names it."""
        owner, name = _owner(place.path, target), mixture_name(place.path, target, targets)
        self._names.append(name)
        overrides = self._config.overrides
        if isinstance(overrides, Mapping) and any(re.fullmatch(p, name) for p in overrides):
            return self._config.for_layer(name)
        return self._config.for_layer(owner)

    def _report_unsupported(self, found: Sequence[Place]) -> None:
        lines = []
        for place in found:
            if place.quantized or not self._config.selects(place.path):
                continue
            missing = unsupported(place.layer, place.inside)
            if missing:
                lines.append(_unsupported_line(place, missing))
        if lines and self._config.strict:
            raise ValueError(
                "with strict=True every layer with weights to share must be supported. Received:\n" + "\n".join(lines)
            )
        for line in lines:
            warnings.warn(line, UserWarning, stacklevel=2)

    def _report_patterns(self) -> None:
        layers, overrides = self._config.layers, self._config.overrides
        patterns = (
            [("layers", p) for p in ((layers,) if isinstance(layers, str) else layers or ())]
            if not callable(layers)
            else []
        )
        if isinstance(overrides, Mapping):
            patterns += [("overrides", p) for p in overrides]
        for field, pattern in patterns:
            if not any(re.fullmatch(pattern, name) for name in self._names):
                warnings.warn(
                    f"`{field}` has the pattern {pattern!r}, which matches the whole path of no supported layer. "
                    f"The paths are: {', '.join(dict.fromkeys(self._names)) or 'none'}",
                    UserWarning,
                    stacklevel=2,
                )

    def check_mixtures(self, mixtures: Mapping[str, Mixture] | None) -> Mapping[str, Mixture]:
        """The given start values, checked.

        Raises:
            ValueError: one is for a layer that is not quantised, or has other bits; TypeError: not Mixtures. The message names
                the layer.
        """
        mixtures = {} if mixtures is None else mixtures
        if not isinstance(mixtures, Mapping):
            raise TypeError(
                f"`mixtures` must be a dict from layer name to Mixture. Received: {type(mixtures).__name__}"
            )
        bits = {
            n: c.weights[t.weight].bits
            for c in self.chosen.values()
            for n, t in zip(c.names, c.targets, strict=True)
            if c.weights[t.weight].weight_method == "mixture"
        }
        for name, mixture in mixtures.items():
            if not isinstance(mixture, Mixture):
                raise TypeError(f"`mixtures` must map to Mixture objects. Received: {mixture!r} (layer {name!r})")
            if name not in bits:
                raise ValueError(
                    f"`mixtures` must name layers that are quantised by mixtures: {', '.join(bits) or 'none'}. Received: {name!r}"
                )
            if mixture.bits != bits[name]:
                raise ValueError(
                    f"a mixture must have the bits of its layer, {bits[name]}. Received: bits={mixture.bits} (layer {name!r})"
                )
        return mixtures


def _owner(path: str, target: Target) -> str:
    """Path of the layer that owns a weight: the layer at `path` or one inside it."""
    return "/".join([path, *(step for step in target.sublayer.split(".") if step)])


def _ends(targets: Sequence[Target], is_first: bool, is_last: bool) -> set[Target]:
    """The weights of a first or last layer; of a layer that holds several layers, those of its own first or last one."""
    ends = set()
    if targets and is_first:
        ends |= {t for t in targets if t.sublayer == targets[0].sublayer}
    if targets and is_last:
        ends |= {t for t in targets if t.sublayer == targets[-1].sublayer}
    return ends


def _unsupported_line(place: Place, missing: list[tuple[str, str]]) -> str:
    layer = place.layer
    names = [f"{path}.{name}" if path else name for path, name in missing]
    kind = type(layer).__name__
    return (
        f"layer {place.path!r} ({kind}) stays in float: dgms_keras does not know how to quantise {', '.join(names)}. To have "
        f"weights of it shared, register its class: dgms_keras.register_layer({kind}, {{{names[0]!r}: -1}})"
    )


def _warn_nothing(left_out: Sequence[str], config: DGMSConfig) -> None:
    why = "the model has no layer of a supported class that `layers` takes"
    if left_out and config.skip_first_last:
        why = f"`skip_first_last` leaves out {', '.join(dict.fromkeys(left_out))} (set it to False to quantise them)"
    warnings.warn(f"quantize_apply found nothing to quantise: {why}", UserWarning, stacklevel=2)


def ends_in_order(found: Sequence[Place]) -> tuple[set[int], set[int]]:
    """The first and the last supported layer of a sequence, for models whose graph is not known."""
    supported = [id(p.layer) for p in found if p.quantized or (p.inside and targets_of(p.layer))]
    return set(supported[:1]), set(supported[-1:])
