"""The parts of Keras that have no public name and that we need, in one place (seen in Keras 3.6 to 3.15)."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import keras
from keras import ops


def is_graph(layer: Any) -> bool:
    """Whether the layer is a model whose graph Keras knows: Sequential or Functional, and `call` is not overridden."""
    from keras.src.models.functional import Functional

    if not isinstance(layer, keras.Model):
        return False
    return type(layer).call in (keras.Sequential.call, Functional.call)


def trusted() -> contextlib.AbstractContextManager[Any]:
    """Where layers may be made from configs with Python code in them (Lambda): the user's own code, in the user's process."""
    from keras.src.saving.serialization_lib import SafeModeScope

    return SafeModeScope(safe_mode=False)


def is_in_stateless_scope() -> bool:
    """Whether variables are read from and written to a `keras.StatelessScope`: JAX trains in one, and models are built in one
    when Keras only looks for shapes."""
    from keras.src.backend.common.stateless_scope import in_stateless_scope

    return in_stateless_scope()


def outside_functions() -> contextlib.AbstractContextManager[Any]:
    """Where variables get their values at once, even if a model is built inside the first call of a compiled train step: a
    mixture starts from the layer's weights."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def take_over_call(wrapper: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    """Makes a wrapper behave like the layer in it towards whoever calls or builds it: names of arguments and shapes, masks,
    dtype conversion, input checks. `training` is added where the layer has no such argument."""
    signature = inspect.signature(layer.call)
    parameters = list(signature.parameters.values())
    if "training" not in signature.parameters:
        at = len(parameters) - (bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
        parameters.insert(at, inspect.Parameter("training", inspect.Parameter.KEYWORD_ONLY, default=None))
    wrapper._call_signature = signature.replace(parameters=parameters)
    wrapper.call_signature_parameters = [p.name for p in parameters]
    wrapper._call_has_training_arg = True
    wrapper._call_has_mask_arg = "mask" in signature.parameters
    wrapper._call_has_context_arg = {"training": True}
    wrapper.supports_masking = layer.supports_masking
    wrapper.supports_jit = layer.supports_jit
    wrapper._convert_input_args = layer._convert_input_args
    wrapper._allow_non_tensor_positional_args = layer._allow_non_tensor_positional_args
    wrapper.input_spec = layer.input_spec
    build: Any = wrapper.build  # a function of this instance
    build.__signature__ = inspect.signature(layer.build)


def call_with_values(
    layer: keras.layers.Layer, values: dict[int, Any], args: Any, kwargs: Any
) -> tuple[Any, list[Any]]:
    """Calls a layer with other values for some of its variables.

    Args:
        layer: a built layer.
        values: id of the variable -> tensor.
        args, kwargs: of the call.

    Returns:
        What the layer returned, and the losses that it added. What it did to its other variables (statistics, seeds) is kept.
    """
    variables = layer.variables
    # Without a scope around, variables that are not mapped read their own value. Inside one, the inner scope hides it, so its
    # values are passed on.
    mapping = (
        [(v, ops.convert_to_tensor(v)) for v in variables if id(v) not in values] if is_in_stateless_scope() else []
    )
    mapping += [(v, values[id(v)]) for v in variables if id(v) in values]
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
        before = dict(scope.state_mapping)
        outputs = layer(*args, **kwargs)
        losses = list(scope.losses)
    for v in variables:
        value = scope.get_current_value(v)
        if id(v) not in values and value is not None and value is not before.get(id(v)):
            v.assign(value)
    return outputs, losses
