"""Runs a `.tflite` in the stock runtime and holds its outputs against the Keras model's."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.errors import VerificationError
from dgms_keras.export.quiet import captured_stderr
from dgms_keras.export.signature import Signature, model_signature

# How far an output may be from the Keras model's, as a share of the largest magnitude of that output.
#
# The weights in the file are checked bit for bit beforehand, so this bounds rounding alone: two float32 libraries sum in different
# orders, and the converter folds BatchNorm. Measured: below 1e-6 at the outputs and inside of ResNet-18, ResNet-50 and
# MobileNetV2 with random weights. A hundred times that leaves room for models that amplify rounding; a forgotten epsilon of a
# fresh BatchNorm is 5e-4, a wrong layout, scale or activation 1e-2 or more.
RELATIVE_TOLERANCE = 1e-4
# The same for int8 activations: no rounding of float32 but of 8 bits, layer after layer. 0.2 is the largest of many deviations at a
# signal-to-noise ratio of about 18 dB; int8 networks have 20 to 45 dB, and a wrong layer leaves none.
INT8_TOLERANCE = 0.2
# The magnitude that is taken where all values are smaller: what is left of them is rounding.
SMALLEST_SCALE = 1e-5


@dataclasses.dataclass(frozen=True)
class Deviation:
    """Where an array is farthest from its reference.

    Args:
        name: of the output or layer.
        deviation: largest absolute difference; NaN counts as equal to NaN, infinity to itself.
        allowed: the tolerance, absolute.
        position: index of that element.
        expected, received: the two values there.
    """

    name: str
    deviation: float
    allowed: float
    position: tuple[int, ...]
    expected: float
    received: float

    @property
    def passed(self) -> bool:
        return self.deviation <= self.allowed


def deviation(
    name: str, expected: np.ndarray, received: np.ndarray, tolerance: float = RELATIVE_TOLERANCE
) -> Deviation:
    """Compares two arrays.

    Args:
        name: what they are.
        expected: the reference.
        received: the other one.
        tolerance: allowed share of the reference's largest finite magnitude. Integers and booleans: see below.

    Returns:
        The largest deviation and where. Integer outputs (arg max, indices) must be equal except where rounding may decide: one
        element in a hundred.

    Raises:
        VerificationError: the shapes differ.
    """
    if expected.shape != received.shape:
        raise VerificationError(
            f"{name!r} must have the shape {expected.shape}, as in Keras. Received: {received.shape}"
        )
    a, b = np.atleast_1d(expected).astype(np.float64), np.atleast_1d(received).astype(np.float64)
    if a.size == 0:
        return Deviation(name, 0.0, 0.0, (), 0.0, 0.0)
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    difference[np.isnan(difference)] = np.inf  # a NaN, or opposite infinities, on one side only
    worst = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), a.shape))
    finite = np.abs(a[np.isfinite(a)])
    allowed = tolerance * max(float(finite.max(initial=0.0)), SMALLEST_SCALE)
    if expected.dtype.kind in "iub":
        allowed = float(np.inf) if np.mean(difference > 0) <= 0.01 else 0.0
    return Deviation(name, float(difference[worst]), allowed, worst, float(a[worst]), float(b[worst]))


def run_keras(model: Any, inputs: Sequence[np.ndarray], input_signature: Any = None) -> dict[str, np.ndarray]:
    """The outputs of the Keras model, by the names they have in the file."""
    signature = model_signature(model, input_signature)
    with captured_stderr(), _full_precision():
        tensors = [_to_backend(model, x, spec.dtype) for x, spec in zip(inputs, signature.inputs, strict=True)]
        outputs = signature.call(tensors)
    names = signature.output_names([path for path, _ in outputs])
    return {name: to_numpy(value) for name, (_, value) in zip(names, outputs, strict=True)}


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Float32 products in full: GPUs round their factors to 10 bits by default (TensorFloat-32), a thousand times too coarse."""
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)
    elif "jax" in sys.modules:
        import jax

        with jax.default_matmul_precision("float32"):
            yield
    else:
        yield


def _to_backend(model: Any, value: np.ndarray, dtype: str) -> Any:
    if any(c.__module__.startswith("tf_keras.") for c in type(model).__mro__):
        return np.asarray(value, dtype)
    import keras

    return keras.ops.convert_to_tensor(np.asarray(value), dtype)


def to_numpy(value: Any) -> np.ndarray:
    """A tensor of any backend as a NumPy array of a type that NumPy knows."""
    try:
        import keras

        value = keras.ops.convert_to_numpy(value)
    except (ImportError, ValueError, TypeError):
        pass
    array = np.asarray(value)
    # bfloat16 and friends: NumPy knows them only as foreign types.
    return array if array.dtype.kind in "iubf" else array.astype(np.float32)


def make_interpreter(data: bytes, num_threads: int = 1, delegates: bool = True) -> Any:
    """The stock runtime on a model, no delegate of ours; tensors are not allocated yet.

    Args:
        data: the model.
        num_threads: >= 1.
        delegates: whether the runtime may use its own default delegate (XNNPACK).

    Raises:
        VerificationError: the runtime refuses the model.
    """
    from dgms_keras.litert import OpResolverType, RuntimeInterpreter

    resolver = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with captured_stderr() as captured:
        try:
            return RuntimeInterpreter(
                model_content=data, num_threads=num_threads, experimental_op_resolver_type=resolver
            )
        except (ValueError, RuntimeError) as error:
            failure = error
    raise VerificationError(
        f"the stock runtime refuses the file: {failure} {captured.text[-300:]}".strip()
    ) from failure


def run_interpreter(
    interpreter: Any, inputs: Sequence[np.ndarray], dequantize: bool = False
) -> list[tuple[str, np.ndarray]]:
    """Names and values of the outputs, in the file's order; inputs are resized to the given shapes.

    Float values for an int8 input are quantised as the file says; with `dequantize`, int8 outputs are given as the float32 values
    that they stand for.

    Raises:
        VerificationError: an input does not fit, or the runtime fails.
    """
    details = interpreter.get_input_details()
    if len(details) != len(inputs):
        raise VerificationError(f"the file must have {len(inputs)} inputs, as the model. Received: {len(details)}")
    with captured_stderr():
        try:
            for detail, x in zip(details, inputs, strict=True):
                if tuple(detail["shape"]) != x.shape:
                    interpreter.resize_tensor_input(detail["index"], x.shape)
            interpreter.allocate_tensors()
            for detail, x in zip(details, inputs, strict=True):
                interpreter.set_tensor(detail["index"], _as_input(x, detail))
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise VerificationError(f"the runtime cannot run the file: {error}") from error
    outputs = [(d, interpreter.get_tensor(d["index"]).copy()) for d in interpreter.get_output_details()]
    return [(d["name"], _dequantized(values, d) if dequantize else values) for d, values in outputs]


def _dequantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    if values.dtype.kind not in "iu" or not scale > 0:
        return values
    return ((values.astype(np.int32) - np.int32(zero)) * np.float32(scale)).astype(np.float32)


def _as_input(x: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    dtype = np.dtype(detail["dtype"])
    scale, zero = detail["quantization"]
    if dtype.kind in "iu" and x.dtype.kind == "f" and scale > 0:
        limits = np.iinfo(dtype)
        return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(dtype)
    return np.asarray(x, dtype)


def output_names(data: bytes) -> list[str]:
    """Names of a file's outputs in their order: those of its signature, else of the tensors.

    They differ where one tensor is two outputs, or an input as well.
    """
    model = fio.read_model(data)
    graph = model.subgraphs[0]
    for signature in model.signatureDefs or ():
        entries = [(e.tensorIndex, e.name) for e in signature.outputs or ()]
        if signature.subgraphIndex == 0 and [t for t, _ in entries] == graph.outputs:
            return [name for _, name in entries]
    return [graph.tensors[t].name for t in graph.outputs]


def random_inputs(data: bytes, signature: Signature, seed: int = 0, batch: int = 2, free: int = 4) -> list[np.ndarray]:
    """Inputs to try a model on: normal floats; integers that are valid indices of every table they may reach.

    Args:
        data: the `.tflite`.
        signature: of the Keras model.
        seed: of the random numbers.
        batch: size of a first dimension that is free; `free`: size of any other.
    """
    rng = np.random.default_rng(seed)
    top = _smallest_table(data)
    inputs = []
    for spec in signature.inputs:
        shape = [(batch if i == 0 else free) if d is None else d for i, d in enumerate(spec.shape)]
        kind = np.dtype(spec.dtype).kind if spec.dtype != "bfloat16" else "f"
        if kind == "b":
            inputs.append(rng.random(shape) < 0.5)
        elif kind in "iu":
            inputs.append(rng.integers(0, top, shape).astype(spec.dtype))
        else:
            inputs.append(rng.standard_normal(shape).astype(np.float32))
    return inputs


def _smallest_table(data: bytes) -> int:
    """Rows of the smallest table that a GATHER reads, at most 1000; tables of this project's own chains apart."""
    model = fio.read_model(data)
    rows = 1000
    for graph in model.subgraphs:
        for op in graph.operators:
            if fio.op_name(model, op) in ("GATHER", "EMBEDDING_LOOKUP", "GATHER_ND"):
                shape = graph.tensors[op.inputs[int(fio.op_name(model, op) == "EMBEDDING_LOOKUP")]].shape
                if shape:
                    rows = min(rows, shape[0])
    return max(rows, 1)


def as_flat_inputs(x: Any, signature: Signature) -> list[np.ndarray]:
    """What a user gives as `x` (one array, a list, or a dict by input name) as arrays in the model's order.

    Raises:
        ValueError: an input is missing or too many, or its shape does not fit.
    """
    names = [spec.name for spec in signature.inputs]
    if isinstance(x, Mapping):
        missing = [n for n in names if n not in x]
        if missing:
            raise ValueError(
                f"`x` must hold an array for each input: {', '.join(names)}. Missing: {', '.join(missing)}"
            )
        arrays = [x[n] for n in names]
    elif isinstance(x, (list, tuple)) and (len(names) > 1 or len(x) == 1):
        arrays = list(x)
    else:
        arrays = [x]
    if len(arrays) != len(names):
        raise ValueError(f"`x` must hold {len(names)} arrays ({', '.join(names)}). Received: {len(arrays)}")
    flat = [np.asarray(a) for a in arrays]
    for spec, array in zip(signature.inputs, flat, strict=True):
        fits = array.ndim == len(spec.shape) and all(
            d is None or d == s for d, s in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            shape = tuple("any" if d is None else d for d in spec.shape)
            raise ValueError(f"input {spec.name!r} must have the shape {shape}. Received: {array.shape}")
    return flat
