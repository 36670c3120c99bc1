"""`export_frozen`: plain Keras model + frozen weights -> a verified `.tflite` file, or an error and no file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export import check
from dgms_keras.export.atomic import check_target, write_atomically
from dgms_keras.export.convert import convert, in_float32
from dgms_keras.export.errors import CompressionError, VerificationError
from dgms_keras.export.readback import check_weights
from dgms_keras.export.report import ExportReport, OutputDeviation, WeightRow
from dgms_keras.export.rewrite import rewrite
from dgms_keras.export.signature import Signature, model_signature
from dgms_keras.frozen import FrozenWeight

# What `activations` may be. Integer activations need calibration data and are not part of this version.
ACTIVATIONS = ("float32",)

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
) -> ExportReport:
    """Writes a model with hard weights as a `.tflite` of index + codebook weights (format: FORMAT.md).

    Args:
        model: a plain Keras model whose weights are the hard ones, i.e. `weight.dense()` for each frozen weight.
        frozen: its quantised weights, in Keras's layout.
        path: the file. It is replaced in one step once the new one is verified; on any failure the old file stays.
        activations: `"float32"`.
        strict: raise where a weight *cannot* be compressed. (One that is smaller dense is no such case.)
        verify: compare the file with the Keras model before it is offered.
        sample: inputs to compare on; None for random ones. Ask for it where random inputs mean nothing to the model.
        input_signature: only for subclassed models that were never called: objects with `shape` and `dtype` in the structure
            of the model's inputs.
        even_if_larger: encode weights that would be smaller dense, too.

    Returns:
        One row per frozen weight, sizes, and how far the outputs are from Keras's.

    Raises:
        ValueError: an argument has a value it cannot have, or a weight is not what `frozen` says.
        ConversionError, CompressionError, VerificationError, FileWriteError: all are `ExportError`s; no file was written.
    """
    if activations not in ACTIVATIONS:
        raise ValueError(
            "`activations` must be 'float32': this version exports float activations only, integer activations are to come. "
            f"Received: activations={activations!r}"
        )
    target = check_target(path)
    frozen = list(frozen)
    _check_names(frozen)
    model = in_float32(model)
    dense = convert(model, input_signature)
    data, rows = rewrite(dense, frozen, even_if_larger=even_if_larger)
    if strict:
        _raise_if_kept(rows)
    check_weights(data, dense, rows)
    outputs = _check_outputs(model, data, input_signature, sample) if verify else ()
    write_atomically(target, data)
    return ExportReport(target, len(data), len(dense), rows, outputs)


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
