"""The few things that `keras.ops` lacks or does differently on TensorFlow, JAX and PyTorch: float64, bits, compilation."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


def to_numpy(x: Any) -> np.ndarray:
    """The value of a variable or tensor, as a copy in its own dtype.

    Through a tensor: NumPy 2 warns about `np.array(variable)`, which `ops.convert_to_numpy` does.
    """
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(x)))


def float64_scope() -> Any:
    """In which float64 tensors can be made. JAX turns them into float32 outside, unless the user has switched x64 on."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def bitcast(x: Any, dtype: str) -> Any:
    """The bits of `x` read as another dtype of the same size."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.bitcast(x, dtype)
    if backend == "jax":
        import jax

        return jax.lax.bitcast_convert_type(x, np.dtype(dtype))
    import torch

    return x.view(getattr(torch, dtype))


def inside_xla() -> bool:
    """Whether TensorFlow traces a function that is compiled as a whole, so that nothing in it needs compiling by itself."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    if tf.executing_eagerly():
        return False
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


@functools.lru_cache(maxsize=1)
def xla_available() -> bool:
    """Whether TensorFlow can compile with XLA on its default device."""
    import tensorflow as tf

    try:
        with tf.init_scope():
            return float(tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(1.0))) == 2.0
    except (tf.errors.OpError, ValueError, NotImplementedError):
        return False


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled by XLA where the backend has it (TensorFlow, JAX); once for each combination of shapes. Its arguments
    are tensors, None, or sequences of these."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _graph_functions(function, jit_compile=True if xla_available() else None)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a graph function of its own on TensorFlow, so that a graph that calls it often holds it once. Its arguments
    are tensors, variables, None, or sequences of these.

    Not in code that XLA compiles: the shapes that a gradient reads off a call there would make XLA take all arguments of the call
    for constants, and compile the training step anew for each value of a variable, that is for each step.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    graph = _graph_functions(function)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args) if inside_xla() else graph(*args)

    return call


def _graph_functions(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A `tf.function` for each combination of shapes: a single one would warn that it is traced too often."""
    import tensorflow as tf

    made: dict[Any, Any] = {}

    def call(*args: Any) -> Any:
        # Variables are read first: there would be one graph function for each of them otherwise.
        args = tf.nest.map_structure(lambda x: None if x is None else tf.convert_to_tensor(x), args)
        key = tuple(x if x is None else (x.dtype, tuple(x.shape)) for x in tf.nest.flatten(args))
        if key not in made:
            made[key] = tf.function(function, autograph=False, **options)
        return made[key](*args)

    return call


def after(x: Any, other: Any) -> Any:
    """`x`, in a TensorFlow graph not before `other` is computed."""
    if keras.backend.backend() != "tensorflow":
        return x
    import tensorflow as tf

    with tf.control_dependencies([other]):
        return tf.identity(x)


def pieces(
    function: Callable[[Any, int], tuple[Any, ...]], size: int, piece: int, dtype: str, sums: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Results for a long vector, made piece by piece, in a TensorFlow graph; a few pieces run side by side.

    Args:
        function: (start, length) -> the result for a piece of the vector, `[piece]`, of which `length` entries count; and tensors
            to be summed over the pieces.
        size: length of the vector.
        piece: length of a piece.
        dtype: of the results.
        sums: what the sums start from.

    Returns:
        The results, `[size]`, and the sums.
    """
    import tensorflow as tf

    whole, rest = divmod(size, piece)

    def step(i: Any, joined: Any, *sums: Any, length: int = piece) -> tuple[Any, ...]:
        block, *more = function(i * piece, length)
        joined = tf.raw_ops.InplaceUpdate(x=joined, i=tf.expand_dims(i, 0), v=tf.expand_dims(block, 0))
        return i + 1, joined, *(s + m for s, m in zip(sums, more, strict=True))

    # Made in place. Pieces in a list, to be concatenated, would be in memory together, and the result besides.
    joined = tf.raw_ops.Empty(shape=(whole + bool(rest), piece), dtype=dtype, init=False)
    state = tf.while_loop(
        lambda i, *_: i < whole, step, (tf.constant(0), joined, *sums), parallel_iterations=os.cpu_count() or 1
    )
    if rest:
        state = step(*state, length=rest)
    _, joined, *sums = state
    return tf.reshape(joined, (-1,))[:size], *sums


def put(buffer: Any, start: tuple[Any, ...], block: Any) -> Any:
    """`buffer` with `block` written at `start`; in place where compiled."""
    if keras.backend.backend() == "tensorflow" and not xla_available():
        import tensorflow as tf

        places = tf.stack(
            tf.meshgrid(*[s + tf.range(size) for s, size in zip(start, block.shape, strict=True)], indexing="ij"), -1
        )
        return tf.tensor_scatter_nd_update(buffer, places, block)
    return ops.slice_update(buffer, start, block)
