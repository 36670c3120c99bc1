"""`DGMSWrapper`: any layer, run with weights that are shared by a Gaussian mixture."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from dgms_keras.activations.inputs import map_inputs
from dgms_keras.activations.quantizer import NAME_MARK as ACTIVATION_MARK
from dgms_keras.activations.quantizer import ActivationQuantizer
from dgms_keras.activations.shared import SharedActivation
from dgms_keras.backend_ops import to_numpy
from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.frozen import FrozenWeight, Mixture
from dgms_keras.layers.keras_internals import call_with_values, is_in_stateless_scope, outside_functions, take_over_call
from dgms_keras.layers.quantizer_variables import QuantizerVariables
from dgms_keras.targets import Target, mixture_name, refusal, resolve, takes_floats, targets_of
from dgms_keras.weights.methods import WeightQuantizer, weight_quantizer
from dgms_keras.weights.plan import Chosen
from dgms_keras.weights.shared import SharedWeight

# Where a mixture's first values come from: k-means on the weights; on a sample of them; or nowhere yet (quantize_apply builds
# the layer, then copies the trained weights, then starts the mixture).
_FROM_WEIGHTS, _FROM_SAMPLE, _LATER = "weights", "sample", "later"


@keras.saving.register_keras_serializable(package="dgms_keras")
class DGMSWrapper(keras.layers.Wrapper):
    """Runs a layer with quantised weights: soft weights (Eq. 8) while training, hard weights (Eq. 4) otherwise.

        x = dgms_keras.DGMSWrapper(keras.layers.Conv2D(64, 3), bits=4)(x)

    The latent weights are the layer's own variables (`wrapper.layer.kernel`, also reached as `wrapper.kernel`); the wrapper adds
    one mixture per weight, initialised by k-means when the layer is built and from then on trained, saved and loaded with it.
    It takes the layer's name. A layer that is built already keeps its weights; where weights come later (`set_weights`), call
    `restart`.

    Training or not follows Keras's rule: the argument `training`, else that of the layer or model around (so `fit` trains,
    `evaluate` and `predict` do not), else False. A frozen wrapper (`trainable=False`) uses its hard weights in training too, as
    BatchNormalization uses its moving statistics when frozen. The wrapper's own dtype policy is float32: mixtures are float32
    under every policy, and the layer keeps its own policy.

    Args:
        layer: the layer; its class is supported or registered (`register_layer`).
        config: a `DGMSConfig`; its `layers` and `skip_first_last` mean nothing here, its `overrides` are looked up under the
            layer's name.
        targets: which weights: (dotted name, channel axes) pairs; None for those of the layer's class. Written by `get_config`.
        weight_configs: other configs for single weights, by dotted name. Written by `get_config`.
        **kwargs: fields of `DGMSConfig` (`bits=2`), and `name`, `trainable` as in every Keras layer.

    Raises:
        ValueError: the layer has no weight to quantise, or cannot be (LoRA, Keras's own quantisation); the message names it.
        TypeError: not a layer, or an unknown argument.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        config: DGMSConfig | dict[str, Any] | None = None,
        *,
        targets: Sequence[tuple[str, Sequence[int]]] | None = None,
        weight_configs: dict[str, DGMSConfig | dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(f"`layer` must be a Keras layer. Received: {layer!r}")
        if isinstance(layer, DGMSWrapper):
            raise ValueError(f"`layer` must not be a DGMSWrapper already. Received: layer {layer.name!r}")
        _check_not_refused(layer)
        own = {k: kwargs.pop(k) for k in ("name", "trainable", "dtype") if k in kwargs}
        if _policy_name(own.pop("dtype", "float32")) != "float32":
            raise ValueError(f"`dtype` belongs to the wrapped layer, not to DGMSWrapper (layer {layer.name!r})")
        own.setdefault("name", layer.name)
        own.setdefault("trainable", layer.trainable)
        config = as_config(config).replace(**kwargs)
        super().__init__(layer, dtype="float32", autocast=False, **own)
        self.dgms_config = config.for_layer(self.name)
        self._targets = tuple(Target(w, tuple(axes)) for w, axes in targets or ())
        self._looks_for_targets = targets is None
        self._find_targets()
        self._weight_configs = {w: as_config(c).for_layer(w) for w, c in (weight_configs or {}).items()}
        self._start = _FROM_WEIGHTS
        self.input_quantizer: QuantizerVariables | None = None
        self._inner_takes_training = "training" in inspect.signature(layer.call).parameters
        take_over_call(self, layer)

    def _find_targets(self) -> None:
        """The weights of the layer's class and of the layers inside it, some of which only its `build` may make."""
        if self._looks_for_targets:
            self._targets = tuple(targets_of(self.layer))
        if not self._targets and self.layer.built:
            raise ValueError(
                "`layer` must be of a supported class, or registered with dgms_keras.register_layer. "
                f"Received: layer {self.layer.name!r} of class {type(self.layer).__name__}"
            )

    def build(self, *shapes: Any, **named_shapes: Any) -> None:
        """Builds the layer (arguments as for its own `build`) if it is not built, then the mixtures, whose first values come
        from the layer's weights."""
        with outside_functions():
            if not all(inner.built for inner in self.layer._flatten_layers()):
                self._build_layer(shapes, named_shapes)
            self.input_spec = self.layer.input_spec
            self._find_targets()
            for target in self._targets:
                self._build_mixture(target)
            self._build_input_quantizer()

    def _build_mixture(self, target: Target) -> None:
        variable = resolve(self.layer, target.weight)
        if not any(v is variable for v in self.layer.variables):
            raise ValueError(
                f"a weight to quantise must be a variable of its layer. Received: {target.weight!r}, a "
                f"{type(variable).__name__} (layer {self.name!r})"
            )
        name = _mixture_name(self._targets.index(target))
        quantizer = weight_quantizer(self.config_of(target), tuple(variable.shape), target.channel_axes)
        mixture = QuantizerVariables(
            quantizer, lambda: self._initial_start(target, quantizer), name=name, mark=quantizer.name_mark
        )
        mixture.build()
        mixture.trainable = self.trainable
        setattr(self, name, mixture)  # an attribute each: tf.train.Checkpoint does not look into Keras's lists

    def _build_input_quantizer(self) -> None:
        quantizer = ActivationQuantizer.of(self.dgms_config)
        if quantizer is None or not takes_floats(self.layer):
            return
        self.input_quantizer = QuantizerVariables(
            quantizer, quantizer.placeholder_start, name="input_quantizer", mark=ACTIVATION_MARK
        )
        self.input_quantizer.build()
        self.input_quantizer.trainable = self.trainable

    def _build_layer(self, shapes: Sequence[Any], named_shapes: dict[str, Any]) -> None:
        layer = self.layer
        if type(layer).build is not keras.layers.Layer.build:
            layer.build(*shapes, **named_shapes)
        else:  # the layers inside it are built by a call
            shape = next(iter((*shapes, *named_shapes.values())))
            layer(keras.tree.map_shape_structure(lambda s: keras.KerasTensor(s, dtype=layer.compute_dtype), shape))
        layer.built = True

    def get_build_config(self) -> dict[str, Any] | None:
        """The layer's."""
        return self.layer.get_build_config()

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the layer if its own config did not, and the mixtures."""
        self.build(**config.get("shapes_dict", {k: v for k, v in config.items() if k == "input_shape"}))

    def config_of(self, target: Target) -> DGMSConfig:
        """The config of one of the weights."""
        return self._weight_configs.get(target.weight, self.dgms_config)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The quantised weights."""
        return self._targets

    def _initial_start(self, target: Target, quantizer: WeightQuantizer) -> np.ndarray:
        # Inside a stateless scope Keras only looks for shapes; the variables get their values, from here again, after it.
        if self._start == _LATER or is_in_stateless_scope():
            return quantizer.placeholder_start()
        latent = to_numpy(resolve(self.layer, target.weight)).astype("float32")
        name = mixture_name(self.name, target, self._targets)
        return quantizer.initial_start(latent, name, quick=self._start == _FROM_SAMPLE)

    def restart(self) -> None:
        """Starts all mixtures again, by k-means on the weights as they are now: after pretrained weights were put into a layer
        that was wrapped before."""
        for weight in self.shared_weights():
            weight.restart()

    @property
    def mixture_layers(self) -> list[QuantizerVariables]:
        """The variables of the mixtures, in the order of `targets`; empty before `build`."""
        return [m for m in (self.__dict__.get(_mixture_name(i)) for i in range(len(self._targets))) if m is not None]

    def shared_weights(self, path: str | None = None) -> list[SharedWeight]:
        """The quantised weights, in the order of `targets`; empty before `build`.

        Args:
            path: the layer's path in its model; None for its name.
        """
        path = path or self.name
        return [
            SharedWeight(
                name=mixture_name(path, target, self._targets),
                path=path,
                target=target,
                quantizer=state.quantizer,
                latent=resolve(self.layer, target.weight),
                start=state.start,
                learned=state.learned,
            )
            for target, state in zip(self._targets, self.mixture_layers, strict=False)
        ]

    def shared_activation(self, path: str | None = None) -> SharedActivation | None:
        """The quantiser of the layer's inputs; None if they are not quantised. `path` as for `shared_weights`."""
        state = self.input_quantizer
        if state is None:
            return None
        return SharedActivation(path or self.name, state.quantizer, state.start, state.learned)

    def call(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Runs the layer with quantised weights in place of its own; arguments and result are the layer's."""
        _check_not_refused(self.layer)
        if self._inner_takes_training and training is not None:
            kwargs["training"] = training
        quantized = {
            id(weight.latent): self._quantized(weight, training=bool(training)) for weight in self.shared_weights()
        }
        state = self.input_quantizer
        if state is not None:
            args, kwargs = map_inputs(lambda x: state.quantizer.quantized(x, state.start, state.learned), args, kwargs)
        outputs, losses = call_with_values(self.layer, quantized, args, kwargs)
        for loss in losses:  # a new tensor: Keras recognises losses by id, and this one is known as the layer's already
            self.add_loss(ops.add(loss, 0))
        return outputs

    def quantized_weight(self, target: Target, training: bool = False) -> Any:
        """A weight as the layer uses it: a float32 tensor in the weight's shape, hard (Eq. 4) or as trained."""
        return self._quantized(self._shared(target), training)

    def _quantized(self, weight: SharedWeight, training: bool) -> Any:
        w = ops.cast(ops.convert_to_tensor(weight.latent), "float32")
        return weight.quantizer.quantized(w, weight.start, weight.learned, training and self.trainable)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's own, without tracing the mixture."""
        if not self._inner_takes_training:
            kwargs.pop("training", None)
        return self.layer.compute_output_spec(*args, **kwargs)

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's own."""
        return self.layer.compute_output_shape(*args, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The layer's own."""
        return self.layer.compute_mask(inputs, previous_mask)

    def __getattr__(self, name: str) -> Any:
        # Only called for what the wrapper itself lacks: `.kernel`, `.bias`, `.strides`, ... of the layer.
        if name.startswith("_") or "layer" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name == "enable_lora":
            raise AttributeError(f"LoRA cannot be enabled on a layer quantised by DGMS (layer {self.name!r})")
        return getattr(self.layer, name)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Keras's own quantisation cannot be put on top of DGMS."""
        raise ValueError(
            "Keras's quantize() works on float layers; strip the model first (dgms_keras.strip). "
            f"Received: layer {self.name!r}, quantised by DGMS"
        )

    def mixture_for(self, target: Target) -> Mixture:
        """The mixture of one weight as it is now."""
        return self._shared(target).mixture()

    def freeze(self, target: Target) -> FrozenWeight:
        """Indices and codebook of one weight; `dense()` of it is what evaluation uses."""
        return self._shared(target).freeze()

    def _shared(self, target: Target) -> SharedWeight:
        return self.shared_weights()[self._targets.index(target)]

    def write_hard_weights(self, layer: keras.layers.Layer) -> None:
        """Sets the quantised weights of a copy of the wrapped layer to their hard values."""
        for weight in self.shared_weights():
            variable = resolve(layer, weight.target.weight)
            variable.assign(weight.freeze().dense().astype(keras.backend.standardize_dtype(variable.dtype)))

    def get_config(self) -> dict[str, Any]:
        """The layer, the config and the weights it is for; the mixtures themselves are variables and saved as such."""
        config = super().get_config()
        config["config"] = self.dgms_config.get_config()
        if self.built or not self._looks_for_targets:
            config["targets"] = [[t.weight, list(t.channel_axes)] for t in self._targets]
        if self._weight_configs:
            config["weight_configs"] = {w: c.get_config() for w, c in self._weight_configs.items()}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DGMSWrapper:
        """The inverse of `get_config`."""
        wrapper = super().from_config(dict(config), custom_objects)
        wrapper._start = _FROM_SAMPLE
        return wrapper

    @classmethod
    def unstarted(cls, layer: keras.layers.Layer, chosen: Chosen) -> DGMSWrapper:
        """A wrapper around a chosen layer, or a copy of it, whose mixtures are to be started (`Chosen.start`) once the layer has
        its weights."""
        first = chosen.weights[chosen.targets[0].weight]
        wrapper = cls(
            layer,
            config=first,
            targets=[(t.weight, t.channel_axes) for t in chosen.targets],
            weight_configs={w: c for w, c in chosen.weights.items() if c != first},
        )
        wrapper._start = _LATER
        return wrapper


def _mixture_name(index: int) -> str:
    return f"mixture_{index}"


def _policy_name(dtype: Any) -> str:
    """The name of a dtype policy given as a name, an object or a serialised object."""
    if isinstance(dtype, dict):
        return dtype.get("config", {}).get("name", "")
    return getattr(dtype, "name", dtype)


def _check_not_refused(layer: keras.layers.Layer) -> None:
    reason = refusal(layer)
    if reason:
        raise ValueError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be quantised by DGMS: {reason}")
