"""The parts of tf_keras and tfmot that have no public name, in one place (tf_keras 2.16 to 2.21, tfmot 0.8.1)."""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Callable
from typing import Any

from dgms_keras.activations.inputs import map_inputs


def import_tfmot() -> Any:
    """tensorflow_model_optimization.

    Its import sets TF_USE_LEGACY_KERAS, which would decide for every process started from this one what `tf.keras` is; it is put
    back here.

    Raises:
        ImportError: it, or tf_keras, is not installed, or Keras 3 computes with another backend than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "dgms_keras.tfmot needs Keras 3 with its TensorFlow backend, in which the mixture is computed (KERAS_BACKEND=tensorflow). "
            f"Received: the backend {keras.backend.backend()!r}"
        )
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        import tensorflow_model_optimization as tfmot
        import tf_keras  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"tf_keras models need the packages tensorflow-model-optimization and tf_keras: pip install dgms_keras[tfmot] ({error})"
        ) from error
    finally:
        if before is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before
    return tfmot


def wrapper_class() -> Any:
    """tfmot's QuantizeWrapper, the base of V2."""
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper

    return QuantizeWrapper


def annotate_class() -> Any:
    """tfmot's QuantizeAnnotate."""
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_annotate import QuantizeAnnotate

    return QuantizeAnnotate


def is_graph(layer: Any) -> bool:
    """Whether the layer is a built Sequential or a Functional model of tf_keras."""
    import tf_keras

    return isinstance(layer, tf_keras.Model) and bool(getattr(layer, "_is_graph_network", False))


def float32_value(variable: Any) -> Any:
    """The value of a variable as a float32 tensor, also inside a layer with a mixed-precision policy, which would read it as
    float16."""
    import tensorflow as tf
    from tf_keras.src.mixed_precision.autocast_variable import enable_auto_cast_variables

    with enable_auto_cast_variables(None):
        return tf.cast(tf.convert_to_tensor(variable), tf.float32)


def behave_like(wrapper: Any, layer: Any) -> None:
    """Gives tfmot's wrapper the dtype policy and the masks of the layer in it.

    The wrapper calls `layer.call` directly, so that its own policy decides how inputs and variables are cast; and it would swallow
    masks.
    """
    if wrapper.dtype_policy.name != layer.dtype_policy.name:
        wrapper._set_dtype_policy(layer.dtype_policy)
        # This runs inside the wrapper's first call, which has set how variables are cast for the old policy, and undoes it.
        from tf_keras.src.mixed_precision import autocast_variable

        autocast_variable._autocast_dtype.dtype = wrapper._compute_dtype_object
    wrapper.supports_masking = layer.supports_masking
    vars(wrapper)["compute_mask"] = layer.compute_mask


def track_before(wrapper: Any, layer: Any) -> None:
    """Puts the layer's trainable weights into the wrapper's list, in front of what a quantizer adds there, whether the layer is frozen
    now or not. tfmot does so only if the layer is built already and not frozen, so a model in training and one that is being loaded
    would save and load in different orders."""
    first = [v for inner in layer._flatten_layers() for v in inner._trainable_weights]
    known = {id(v) for v in first}
    wrapper._trainable_weights[:] = first + [v for v in wrapper._trainable_weights if id(v) not in known]


def make_freezable(wrapper: Any) -> None:
    """Makes `trainable = False` freeze the layer in tfmot's wrapper, which would train its weights on."""
    object.__setattr__(wrapper, "__class__", _freezable(type(wrapper)))


@functools.cache
def _freezable(wrapper_class: Any) -> Any:
    """tfmot's wrapper class with lists of weights that follow `trainable`, as in every other layer. Of the same name, so that files
    know it as tfmot's."""
    if "_dgms_freezable" in vars(wrapper_class):
        return wrapper_class

    class Freezable(wrapper_class):
        _dgms_freezable = True

        @property
        def trainable_weights(self) -> list[Any]:
            return super().trainable_weights if self.trainable else []

        @property
        def non_trainable_weights(self) -> list[Any]:
            rest = super().non_trainable_weights
            return rest if self.trainable else self._dedup_weights(self._trainable_weights + rest)

    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Freezable, attribute, getattr(wrapper_class, attribute))
    return Freezable


def put_for_one_call(layer: Any, owner: Any, attribute: str, value: Any) -> None:
    """Puts a tensor in the place of a variable until the layer was called once.

    Behind tf_keras's back: assigning the attribute would drop the variable from the layer's lists of weights, and with it from
    whatever saves, loads or counts them; and a tensor that stays would belong to a graph that is gone.

    Args:
        layer: the layer whose `call` uses it.
        owner: the layer that has the attribute: `layer`, or one inside it.
        attribute: name of the variable.
        value: the tensor.
    """
    replaced = _hooks(layer).replaced
    replaced.setdefault((id(owner), attribute), (owner, vars(owner)[attribute]))
    vars(owner)[attribute] = value


def change_inputs_of_one_call(layer: Any, function: Callable[[Any], Any]) -> None:
    """Applies a function to the float inputs of the layer's next call."""
    _hooks(layer).inputs = function


class _Hooks:
    """What is to happen around the next call of a layer."""

    def __init__(self) -> None:
        self.replaced: dict[tuple[int, str], tuple[Any, Any]] = {}  # (owner's id, attribute) -> owner, variable
        self.inputs: Callable[[Any], Any] | None = None


def _hooks(layer: Any) -> _Hooks:
    """A layer's hooks; the first time they are put around its `call`."""
    if "_dgms_hooks" in vars(layer):
        return vars(layer)["_dgms_hooks"]
    hooks = vars(layer)["_dgms_hooks"] = _Hooks()
    run = layer.call
    parameters = inspect.signature(run).parameters
    takes_mask = "mask" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not takes_mask:
            kwargs.pop("mask", None)  # tf_keras passes it to the wrapper, which passes everything on
        try:
            if hooks.inputs is not None:
                args, kwargs = map_inputs(hooks.inputs, args, kwargs)
            return run(*args, **kwargs)
        finally:
            for (_, name), (holder, variable) in hooks.replaced.items():
                vars(holder)[name] = variable
            hooks.replaced.clear()
            hooks.inputs = None

    call.__signature__ = inspect.signature(type(layer).call)  # type: ignore[attr-defined] # tfmot looks at the names of arguments
    vars(layer)["call"] = types.MethodType(call, layer)
    return hooks


def nodes(model: Any) -> list[Any]:
    """The nodes of a Functional or built Sequential model, in the order of computation."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
