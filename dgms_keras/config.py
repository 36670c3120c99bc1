"""`DGMSConfig`: every choice of the method, frozen, validated and JSON-serialisable.

Importing this module imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

BITS = (2, 3, 4)
POSTERIORS = ("mixture", "paper")
WEIGHT_GRADIENTS = ("straight_through", "mixture")
TRAINING_WEIGHTS = ("soft", "hard")
WEIGHT_METHODS = ("mixture", "qil")
ACTIVATION_BITS = (2, 3, 4, 8)
ACTIVATION_METHODS = ("qil", "minmax", "mse")

# What a `layers` filter may be: a regular expression, several of them, or a predicate on the layer's path.
LayerFilter = str | Sequence[str] | Callable[[str], bool]
# What `overrides` may be: pattern -> changed fields, or a function from the layer's path to changed fields (or None).
Overrides = Mapping[str, Mapping[str, Any]] | Callable[[str], Mapping[str, Any] | None]

# Fields that choose layers. They make sense for a whole model only, so an override may not change them.
_MODEL_FIELDS = ("layers", "skip_first_last", "overrides", "strict")


def _check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclasses.dataclass(frozen=True)
class DGMSConfig:
    """How a model's weights are shared: bit width, mixture, training and the choice of layers.

    Args:
        bits: 2, 3 or 4. A layer's codebook has `2**bits` values, one of which is 0.
        posterior: `"mixture"` (the posterior of the mixture, evaluated in the log domain; the authors' code) or `"paper"`
            (Eq. 6 as printed: softmax over `pi_k * N_k(w)`). Both give the same hard weights.
        temperature: start value of tau in Eq. 7, > 0. The smaller, the closer soft weights are to hard weights.
        learn_temperature: whether tau is trained, one value per mixture (Table 6).
        gamma_init: `"cluster"` (the standard deviation of each k-means cluster, Algorithm 1) or one number > 0 in the
            units of the weights ("empirical", Table 5).
        weight_gradient: `"straight_through"` adds the identity to the mixture's own gradient with respect to the latent
            weights; `"mixture"` is the paper's (Eq. 8 differentiated, nothing added).
        training_weight: the weights used in training's forward pass: `"soft"` (Eq. 8) or `"hard"` (Eq. 4), the latter with
            the soft weights' gradient.
        layers: which layers: None for all supported ones, a regular expression or several (matched against the whole path of
            the layer, e.g. `"block1/conv"`), or a function from the path to bool.
        skip_first_last: leave the first and the last supported layer in float, as the paper does.
        granularity: `"layer"` for one mixture per weight tensor, or a number n >= 1: one mixture for each n consecutive
            output channels.
        weight_method: `"mixture"` (DGMS), or `"qil"`: the 2^bits - 1 levels of a learned interval (arXiv 1808.05779); the fields about
            mixtures then mean nothing.
        activation_bits: 2, 3, 4 or 8: the inputs of the quantised layers are quantised, too, once they are calibrated
            (`representative_dataset` of `quantize_apply`, or `calibrate_activations`). None: float activations.
        activation_method: `"qil"`: intervals learned from the task loss; `"minmax"` or `"mse"`: fixed ranges, the extremes of the
            calibration data or those with the least squared error.
        overrides: per-layer changes: `{"block4/.*": {"bits": 2}}` or a function from the layer's path to such a dict or None.
            The first pattern that matches the whole path wins.
        seed: seed of the k-means initialisation.
        strict: raise where a layer cannot be quantised, instead of warning and leaving it in float.

    Raises:
        ValueError, TypeError: a field has a value it cannot have; the message names the field, the rule and the value.
    """

    bits: int = 4
    posterior: Literal["mixture", "paper"] = "mixture"
    temperature: float = 0.01
    learn_temperature: bool = True
    gamma_init: Literal["cluster"] | float = "cluster"
    weight_gradient: Literal["straight_through", "mixture"] = "straight_through"
    training_weight: Literal["soft", "hard"] = "soft"
    layers: LayerFilter | None = None
    skip_first_last: bool = True
    granularity: Literal["layer"] | int = "layer"
    weight_method: Literal["mixture", "qil"] = "mixture"
    activation_bits: int | None = None
    activation_method: Literal["qil", "minmax", "mse"] = "qil"
    overrides: Overrides | None = None
    seed: int = 0
    strict: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or self.bits not in BITS:
            raise ValueError(f"`bits` must be 2, 3 or 4. Received: bits={self.bits!r}")
        _check_choice("posterior", self.posterior, POSTERIORS)
        _check_choice("weight_gradient", self.weight_gradient, WEIGHT_GRADIENTS)
        _check_choice("training_weight", self.training_weight, TRAINING_WEIGHTS)
        if not _is_number(self.temperature) or self.temperature <= 0:
            raise ValueError(f"`temperature` must be a finite number > 0. Received: temperature={self.temperature!r}")
        if self.gamma_init != "cluster" and (not _is_number(self.gamma_init) or self.gamma_init <= 0):
            raise ValueError(
                f"`gamma_init` must be 'cluster' or a finite number > 0. Received: gamma_init={self.gamma_init!r}"
            )
        if self.granularity != "layer" and (
            isinstance(self.granularity, bool) or not isinstance(self.granularity, int) or self.granularity < 1
        ):
            raise ValueError(
                "`granularity` must be 'layer' or a number of output channels >= 1. "
                f"Received: granularity={self.granularity!r}"
            )
        _check_choice("weight_method", self.weight_method, WEIGHT_METHODS)
        if self.weight_method == "qil" and self.granularity != "layer":
            raise ValueError(
                "`granularity` must be 'layer' with weight_method='qil': one interval for a weight. "
                f"Received: granularity={self.granularity!r}"
            )
        bits = self.activation_bits
        if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or bits not in ACTIVATION_BITS):
            raise ValueError(f"`activation_bits` must be None, 2, 3, 4 or 8. Received: activation_bits={bits!r}")
        _check_choice("activation_method", self.activation_method, ACTIVATION_METHODS)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"`seed` must be an integer >= 0. Received: seed={self.seed!r}")
        for name in ("learn_temperature", "skip_first_last", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"`{name}` must be True or False. Received: {name}={getattr(self, name)!r}")
        self._check_layers()
        self._check_overrides()

    def _check_layers(self) -> None:
        if self.layers is None or callable(self.layers):
            return
        patterns = (self.layers,) if isinstance(self.layers, str) else self.layers
        if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
            raise TypeError(
                "`layers` must be None, a regular expression, a list of them, or a function from a layer's path to bool. "
                f"Received: layers={self.layers!r}"
            )
        for pattern in patterns:
            _compile("layers", pattern)
        if not isinstance(self.layers, str):
            object.__setattr__(self, "layers", tuple(patterns))

    def _check_overrides(self) -> None:
        if self.overrides is None or callable(self.overrides):
            return
        if not isinstance(self.overrides, Mapping):
            raise TypeError(
                "`overrides` must be None, a dict from pattern to changed fields, or a function from a layer's path to such "
                f"fields. Received: overrides={self.overrides!r}"
            )
        for pattern, changes in self.overrides.items():
            _compile("overrides", pattern)
            self._changed(pattern, changes)
        object.__setattr__(self, "overrides", {p: dict(c) for p, c in self.overrides.items()})  # not the caller's

    def _changed(self, where: str, changes: Mapping[str, Any]) -> DGMSConfig:
        """This config with one layer's changes, or an error that names the override."""
        if not isinstance(changes, Mapping):
            raise TypeError(
                f"an entry of `overrides` must be a dict of DGMSConfig fields. Received: {changes!r} (for {where!r})"
            )
        allowed = [f.name for f in dataclasses.fields(self) if f.name not in _MODEL_FIELDS]
        for name in changes:
            if name not in allowed:
                raise ValueError(
                    f"an entry of `overrides` may change {', '.join(allowed)}. Received: {name!r} (for {where!r})"
                )
        try:
            return dataclasses.replace(self, layers=None, overrides=None, **changes)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{error} (in `overrides` for {where!r})") from None

    @classmethod
    def paper(cls, bits: int = 4, **changes: Any) -> DGMSConfig:
        """The paper's own choices (Sec. 3, Algorithm 1): Eq. 6 literally, soft weights and their gradient only, tau = 0.01
        and learned, gamma from the clusters, first and last layer in float. `changes` replaces single fields."""
        fields: dict[str, Any] = {
            "bits": bits,
            "posterior": "paper",
            "temperature": 0.01,
            "learn_temperature": True,
            "gamma_init": "cluster",
            "weight_gradient": "mixture",
            "training_weight": "soft",
            "skip_first_last": True,
            "granularity": "layer",
        }
        return cls(**{**fields, **changes})

    def replace(self, **changes: Any) -> DGMSConfig:
        """A copy with some fields changed; an unknown field raises a TypeError that lists the known ones."""
        known = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"DGMSConfig has the fields {', '.join(known)}. Received: {name!r}")
        return dataclasses.replace(self, **changes)

    def selects(self, path: str) -> bool:
        """Whether the `layers` filter takes the layer at `path` (its name, behind the names of the models around it)."""
        if self.layers is None:
            return True
        if callable(self.layers):
            return bool(self.layers(path))
        patterns = (self.layers,) if isinstance(self.layers, str) else self.layers
        return any(re.fullmatch(p, path) for p in patterns)

    def for_layer(self, path: str) -> DGMSConfig:
        """The config of one layer: overrides applied, then dropped together with the `layers` filter."""
        changes: Mapping[str, Any] | None = None
        if callable(self.overrides):
            changes = self.overrides(path)
        elif self.overrides is not None:
            changes = next((c for p, c in self.overrides.items() if re.fullmatch(p, path)), None)
        return self._changed(path, changes or {})

    def may_quantize_activations(self) -> bool:
        """Whether `activation_bits` is given for any layer, as far as can be told before there are layers."""
        if self.activation_bits is not None or callable(self.overrides):
            return True
        return any(changes.get("activation_bits") is not None for changes in (self.overrides or {}).values())

    def get_config(self) -> dict[str, Any]:
        """The fields as JSON types; `from_config` reads them back.

        Raises:
            ValueError: `layers` or `overrides` is a function, which JSON cannot hold.
        """
        for name in ("layers", "overrides"):
            if callable(getattr(self, name)):
                raise ValueError(
                    f"`{name}` must be a pattern to be serialised. Received: a function, {getattr(self, name)!r}"
                )
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if isinstance(self.layers, tuple):
            config["layers"] = list(self.layers)
        if isinstance(self.overrides, Mapping):
            config["overrides"] = {p: dict(c) for p, c in self.overrides.items()}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DGMSConfig:
        """The inverse of `get_config`. Unknown fields raise a TypeError that names them."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(config) - known)
        if unknown:
            raise TypeError(f"DGMSConfig has the fields {', '.join(sorted(known))}. Received: {', '.join(unknown)}")
        return cls(**config)

    def to_json(self) -> str:
        """The config as a JSON object; see `get_config` for the error."""
        return json.dumps(self.get_config(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DGMSConfig:
        """The inverse of `to_json`."""
        return cls.from_config(json.loads(text))


def _compile(field: str, pattern: Any) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f"`{field}` must hold regular expressions as strings. Received: {pattern!r}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"`{field}` must hold valid regular expressions. Received: {pattern!r} ({error})") from None


def as_config(config: DGMSConfig | Mapping[str, Any] | None) -> DGMSConfig:
    """A config given as itself, as its `get_config()`, or as None for the defaults.

    Raises:
        TypeError: something else.
    """
    if config is None:
        return DGMSConfig()
    if isinstance(config, DGMSConfig):
        return config
    if isinstance(config, Mapping):
        return DGMSConfig.from_config(config)
    raise TypeError(f"`config` must be a DGMSConfig. Received: {config!r}")
