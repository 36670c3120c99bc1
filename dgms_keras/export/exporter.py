"""`export_frozen`: plain Keras model + frozen weights -> a verified `.tflite` file, or an error and no file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import check
from dgms_keras.export.atomic import check_target, write_atomically
from dgms_keras.export.convert import convert, in_float32
from dgms_keras.export.errors import CompressionError, VerificationError
from dgms_keras.export.int8 import check as int8_check
from dgms_keras.export.int8.options import Int8Options, check_inference_type
from dgms_keras.export.int8.pipeline import Int8File, build
from dgms_keras.export.int8.representative import Batch, as_batches, first_samples, joined
from dgms_keras.export.readback import check_weights
from dgms_keras.export.report import ExportReport, OutputDeviation, WeightRow
from dgms_keras.export.rewrite import rewrite
from dgms_keras.export.signature import Signature, model_signature
from dgms_keras.frozen import FrozenWeight

# What `activations` may be.
ACTIVATIONS = ("float32", "int8")
# Samples of the calibration data on which an int8 file is compared with Keras, and its layers with the float graph.
COMPARED_SAMPLES = 32

__all__ = ["ACTIVATIONS", "ExportReport", "export_frozen"]


def export_frozen(
    model: Any,
    frozen: Sequence[FrozenWeight],
    path: str | os.PathLike[str],
    *,
    activations: str = "float32",
    strict: bool = False,
    verify: bool = True,
    sample: Any = None,
    input_signature: Any = None,
    even_if_larger: bool = False,
    representative_dataset: Any = None,
    inference_type: str = "float32",
    int8_options: Int8Options | None = None,
    activation_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> ExportReport:
    """Writes a model with hard weights as a `.tflite` of index + codebook weights (format: FORMAT.md).

    Args:
        model: a plain Keras model whose weights are the hard ones, i.e. `weight.dense()` for each frozen weight.
        frozen: its quantised weights, in Keras's layout.
        path: the file. It is replaced in one step once the new one is verified; on any failure the old file stays.
        activations: `"float32"`, or `"int8"`: TensorFlow's full-integer quantisation, with int8 codebooks.
        strict: raise where a weight *cannot* be compressed. (One that is smaller dense is no such case.)
        verify: compare the file with the Keras model before it is offered; for int8 also measure the layers' signal-to-noise ratios.
        sample: inputs to compare on; None for random ones, or for calibration data. Ask for it where random inputs mean nothing to
            the model.
        input_signature: only for subclassed models that were never called: objects with `shape` and `dtype` in the structure
            of the model's inputs.
        even_if_larger: encode weights that would be smaller dense, too.
        representative_dataset: for int8, calibration data: see `int8.representative.as_batches`.
        inference_type: for int8, the type of the file's float inputs and outputs: `"float32"` converts inside the graph, so that
            the file takes and gives what the float file does; `"int8"` leaves that to the caller.
        int8_options: for int8, how codebooks become int8; None for the defaults.
        activation_ranges: for int8, by name of a frozen weight, (low, high) of what its operator receives, as learned in training;
            without it, and where another reader of the same tensor has none, the calibration data's extremes.

    Returns:
        One row per frozen weight, sizes, and how far the outputs are from Keras's.

    Raises:
        ValueError: an argument has a value it cannot have, or a weight is not what `frozen` says.
        ConversionError, CompressionError, VerificationError, FileWriteError: all are `ExportError`s; no file was written.
    """
    if activations not in ACTIVATIONS:
        raise ValueError(
            f"`activations` must be 'float32' or 'int8'. Received: activations={activations!r} (integer activations of other "
            "widths are not part of this version)"
        )
    int8 = activations == "int8"
    _check_int8_arguments(int8, representative_dataset, inference_type, int8_options)
    target = check_target(path)
    frozen = list(frozen)
    _check_names(frozen)
    model = in_float32(model)
    batches = as_batches(representative_dataset, model_signature(model, input_signature)) if int8 else []
    dense = convert(model, input_signature)
    if int8:
        file = build(
            dense,
            frozen,
            batches,
            inference_type=inference_type,
            options=int8_options,
            activation_ranges=activation_ranges,
            even_if_larger=even_if_larger,
        )
        report = _check_int8(model, file, target, batches, input_signature, sample, strict=strict, verify=verify)
        write_atomically(target, file.data)
        return report
    data, rows = rewrite(dense, frozen, even_if_larger=even_if_larger)
    if strict:
        _raise_if_kept(rows)
    check_weights(data, dense, rows)
    outputs = _check_outputs(model, data, input_signature, sample) if verify else ()
    write_atomically(target, data)
    return ExportReport(target, len(data), len(dense), rows, outputs)


def _check_int8_arguments(int8: bool, representative_dataset: Any, inference_type: str, options: Any) -> None:
    """Raises a ValueError for a wrong value, or one that has no meaning for float activations."""
    check_inference_type(inference_type)
    given = [
        name
        for name, is_given in (
            ("representative_dataset", representative_dataset is not None),
            ("inference_type", inference_type != "float32"),
            ("int8_options", options is not None),
        )
        if is_given
    ]
    if given and not int8:
        raise ValueError(f"{', '.join(f'`{n}`' for n in given)} must go with activations='int8'. Received: 'float32'")


def _check_int8(
    model: Any,
    file: Int8File,
    target: str,
    batches: Sequence[Batch],
    input_signature: Any,
    sample: Any,
    *,
    strict: bool,
    verify: bool,
) -> ExportReport:
    """Verifies an int8 file (rules: int8/check.py) and reports on it.

    Raises:
        CompressionError, VerificationError: as for a float file.
    """
    if strict:
        _raise_if_kept(file.rows)
    int8_check.check_weights(file)
    rows, outputs = file.rows, ()
    if verify:
        signature = model_signature(model, input_signature)
        inputs = check.as_flat_inputs(sample, signature) if sample is not None else joined(batches, COMPARED_SAMPLES)
        expected = check.run_keras(model, inputs, input_signature)
        _compare(file.float_data, inputs, expected)
        int8_check.check_twin(file, inputs if sample is not None else batches[0])
        outputs = int8_check.check_outputs(file, inputs, expected)
        ratios = int8_check.layer_snrs(file, first_samples(batches, COMPARED_SAMPLES))
        rows = tuple(dataclasses.replace(row, snr_db=ratios.get(row.name)) for row in rows)
    return ExportReport(
        path=target,
        file_bytes=len(file.data),
        dense_bytes=len(file.float_data),
        layers=rows,
        activations="int8",
        dense_int8_bytes=len(file.quantized),
        output_snrs=outputs,
    )


def _check_names(frozen: Sequence[FrozenWeight]) -> None:
    names = [w.name for w in frozen]
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise ValueError(f"each frozen weight must have a name of its own. Received twice: {', '.join(doubled)}")


def _raise_if_kept(rows: Sequence[WeightRow]) -> None:
    kept = [row for row in rows if row.reason is not None and not row.smaller_dense]
    if kept:
        listed = "; ".join(f"{row.name}: {row.reason}" for row in kept)
        raise CompressionError(f"with strict=True every quantised weight must be compressed. Not compressed: {listed}")


def _check_outputs(model: Any, data: bytes, input_signature: Any, sample: Any) -> tuple[OutputDeviation, ...]:
    """Runs the file and the Keras model on the same inputs.

    Raises:
        VerificationError: an output's name, shape or values differ; the message says by how much and where.
    """
    signature = model_signature(model, input_signature)
    inputs, expected = _inputs_and_outputs(model, data, signature, input_signature, sample)
    return _compare(data, inputs, expected)


def _compare(
    data: bytes, inputs: Sequence[np.ndarray], expected: Mapping[str, np.ndarray]
) -> tuple[OutputDeviation, ...]:
    """Runs a float file and compares its outputs with the Keras model's.

    Raises:
        VerificationError: see `_check_outputs`.
    """
    received = [values for _, values in check.run_interpreter(check.make_interpreter(data), inputs)]
    names = check.output_names(data)
    if names != list(expected):
        raise VerificationError(f"the outputs must be {list(expected)}, as in Keras. Received: {names}")
    results = [check.deviation(name, expected[name], values) for name, values in zip(names, received, strict=True)]
    for result in results:
        if not result.passed:
            raise VerificationError(
                f"output {result.name!r} must equal the Keras model's within {result.allowed:.3g}. Received: a difference of "
                f"{result.deviation:.3g} at {list(result.position)}: {result.received:.6g}, Keras {result.expected:.6g}"
            )
    return tuple(OutputDeviation(r.name, r.deviation, r.allowed) for r in results)


def _inputs_and_outputs(
    model: Any, data: bytes, signature: Signature, input_signature: Any, sample: Any
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Inputs that the model accepts, and what it makes of them. Free dimensions are tried small first."""
    if sample is not None:
        inputs = check.as_flat_inputs(sample, signature)
        return inputs, check.run_keras(model, inputs, input_signature)
    free_sizes = (16, 64, 256) if any(None in spec.shape[1:] for spec in signature.inputs) else (16,)
    for size in free_sizes:
        inputs = check.random_inputs(data, signature, free=size)
        try:
            return inputs, check.run_keras(model, inputs, input_signature)
        except Exception as error:  # whatever the model's own layers raise for an input they cannot take
            failure = error
    shapes = ", ".join(f"{spec.name} {x.shape}" for spec, x in zip(signature.inputs, inputs, strict=True))
    raise VerificationError(
        f"the Keras model cannot run on random inputs ({shapes}): {str(failure)[:300]}. Give `sample`, inputs it can take, or "
        "verify=False"
    ) from failure
