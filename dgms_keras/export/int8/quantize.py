"""A float `.tflite` and calibration batches -> TensorFlow's own full-integer int8 `.tflite`.

Calibrator and quantiser are those that `tf.lite.TFLiteConverter` runs after it has converted to float; called directly, they
start from the very float graph whose constants were matched, and need no Keras.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.errors import ConversionError
from dgms_keras.export.int8.representative import Batch
from dgms_keras.export.quiet import captured_stderr


def quantize(
    data: bytes,
    batches: Sequence[Batch],
    inference_type: str = "float32",
    ranges: Mapping[int, tuple[float, float]] | None = None,
) -> bytes:
    """Calibrates a float model and quantises it: weights per channel, activations per tensor, biases int32.

    Args:
        data: the float `.tflite`.
        batches: calibration data, in the order of the model's inputs.
        inference_type: of the model's float inputs and outputs: `"float32"` (QUANTIZE and DEQUANTIZE inside) or `"int8"`.

        ranges: (low, high) of tensors of the main graph by number, instead of the extremes that calibration sees.

    Returns:
        The int8 `.tflite`, with the names and the order of inputs and outputs of `data`.

    Raises:
        ConversionError: TensorFlow refuses the model, it has control flow, or an activation is not finite.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    if len(fio.read_model(data).subgraphs) > 1:  # TensorFlow 2.21's calibrator does not survive them
        raise ConversionError(
            "activations='int8' needs a model without control flow (WHILE, IF), which TensorFlow's calibrator does not take. A "
            "recurrent layer needs unroll=True"
        )
    kind = {"float32": tf.float32, "int8": tf.int8}[inference_type]
    calibrated = _with_ranges(_calibrate(data, batches), data, ranges or {})
    try:
        with captured_stderr() as captured:
            quantised = mlir_quantize(calibrated, input_data_type=kind, output_data_type=kind)
    except Exception as error:
        raise ConversionError(
            f"TensorFlow cannot quantise the model to int8: {str(error)[:1000]} {captured.text[-300:]}".strip()
        ) from error
    return _with_names_of(quantised, data)


def _calibrate(data: bytes, batches: Sequence[Batch]) -> bytes:
    """The model with the range of every activation. TensorFlow's calibrator takes one shape of inputs at a time."""
    groups: dict[tuple[Any, ...], list[Batch]] = {}
    for batch in batches:
        groups.setdefault(tuple(a.shape for a in batch), []).append(batch)
    models = [fio.read_model(_calibrate_one_shape(data, group)) for group in groups.values()]
    for other in models[1:]:
        for graph, more in zip(models[0].subgraphs, other.subgraphs, strict=True):
            for tensor, same in zip(graph.tensors, more.tensors, strict=True):
                _widen(tensor.quantization, same.quantization)
    _check_ranges(models[0])
    return fio.write_model(models[0])


def _with_ranges(calibrated: bytes, data: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """The calibrated model with other ranges for some tensors, found by their names (the calibrator may number them anew)."""
    if not ranges:
        return calibrated
    names = {fio.read_model(data).subgraphs[0].tensors[t].name: limits for t, limits in ranges.items()}
    model = fio.read_model(calibrated)
    for tensor in model.subgraphs[0].tensors:
        q = tensor.quantization
        if tensor.name in names and q is not None and q.min is not None and q.max is not None:
            low, high = names[tensor.name]
            # Never wider than what occurs: an unused end would cost resolution.
            q.min, q.max = [max(float(q.min[0]), low)], [min(float(q.max[0]), high)]
    return fio.write_model(model)


def _calibrate_one_shape(data: bytes, batches: Sequence[Batch]) -> bytes:
    from tensorflow.lite.python.optimize import calibrator

    def feed() -> Iterator[Batch]:
        yield from batches

    try:
        with captured_stderr() as captured:
            return calibrator.Calibrator(calibrator.add_intermediate_tensors(data)).calibrate(feed)
    except Exception as error:
        shapes = ", ".join(str(a.shape) for a in batches[0])
        raise ConversionError(
            f"TensorFlow cannot calibrate the model on inputs of the shape {shapes}: {str(error)[:1000]} "
            f"{captured.text[-300:]}".strip()
        ) from error


def _widen(quantization: Any, other: Any) -> None:
    """The range that holds both."""
    if quantization is None or other is None:
        return
    for side, pick in (("min", np.minimum), ("max", np.maximum)):
        a, b = getattr(quantization, side), getattr(other, side)
        if a is not None and b is not None and len(a) == len(b):
            setattr(quantization, side, pick(a, b))


def _check_ranges(model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            q = tensor.quantization
            if q is None or q.min is None or q.max is None:
                continue
            # The width of a range must be a float32, too: it is 255 steps.
            width = np.asarray(q.max, np.float64) - np.asarray(q.min, np.float64)
            if not np.all(width <= np.finfo(np.float32).max):
                raise ConversionError(
                    f"every activation must be finite on the calibration data. Received: {float(q.min[0])} to "
                    f"{float(q.max[0])} in {tensor.name!r}"
                )


def _with_names_of(quantised: bytes, original: bytes) -> bytes:
    """The quantised model with the original's names of inputs and outputs, which int8 inputs and outputs lose."""
    model, reference = fio.read_model(quantised), fio.read_model(original)
    graph, named = model.subgraphs[0], reference.subgraphs[0]
    for side in ("inputs", "outputs"):
        tensors, wanted = getattr(graph, side), getattr(named, side)
        if len(tensors) != len(wanted):
            raise ConversionError(f"the quantiser kept {len(tensors)} of the {len(wanted)} {side} of the model")
        for tensor, source in zip(tensors, wanted, strict=True):
            graph.tensors[tensor].name = named.tensors[source].name
        # One tensor may be two outputs, or an input as well: the original's signature says which name is which position.
        for signature, known in zip(model.signatureDefs or (), reference.signatureDefs or (), strict=True):
            entries = getattr(known, side)
            if [e.tensorIndex for e in entries] == wanted:
                for entry, tensor in zip(entries, tensors, strict=True):
                    entry.tensorIndex = tensor
                setattr(signature, side, entries)
    return fio.write_model(model)
