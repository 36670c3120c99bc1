"""`verify`: a Keras model with hard weights, the stock runtime and our delegate on the same inputs, output by output."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import check
from dgms_keras.export.check import Deviation
from dgms_keras.export.convert import in_float32
from dgms_keras.export.errors import VerificationError
from dgms_keras.export.inspect import parse, read_file
from dgms_keras.export.report import as_text, build_table
from dgms_keras.export.signature import model_signature
from dgms_keras.export.watch import with_outputs
from dgms_keras.runtime import intermediates


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One output or layer.

    Args:
        name: of the output, or of the layer and its weight.
        kind: `"output"` or `"layer"`.
        op: the operator in the file, for a layer.
        stock: the stock runtime against Keras.
        delegate: the delegate against Keras; None if it was not run.
        between: the delegate against the stock runtime; None if it was not run.
    """

    name: str
    kind: str
    op: str
    stock: Deviation
    delegate: Deviation | None
    between: Deviation | None

    @property
    def passed(self) -> bool:
        return self.stock.passed and (self.delegate is None or self.delegate.passed)


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Args:
        path: the file.
        tolerance: allowed share of the largest magnitude of each output or layer.
        outputs: one comparison per output of the model.
        layers: one per operator with a decoded weight that could be mapped to a Keras layer; empty unless asked for.
        unmapped: layers that could not be mapped, with the reason.
        delegate: `"N nodes"` where the delegate ran, else why it did not.
    """

    path: str
    tolerance: float
    outputs: tuple[Comparison, ...]
    layers: tuple[Comparison, ...]
    unmapped: tuple[tuple[str, str], ...]
    delegate: str

    @property
    def passed(self) -> bool:
        """Whether every output and every mapped layer is within its tolerance."""
        return all(c.passed for c in (*self.outputs, *self.layers))

    @property
    def delegate_ran(self) -> bool:
        return any(c.delegate is not None for c in self.outputs)

    @property
    def worst(self) -> Comparison:
        """The output with the largest deviation, relative to what is allowed."""
        return max(self.outputs, key=lambda c: max(_share(d) for d in (c.stock, c.delegate) if d is not None))

    def to_json_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {**dataclasses.asdict(self), "passed": self.passed}

    def table(self) -> Any:
        """The report as a rich table."""
        columns = ("what", "op", "stock - Keras", "delegate - Keras", "delegate - stock", "allowed", "largest at", "")
        rows = []
        for c in (*self.layers, *self.outputs):
            far = max((d for d in (c.stock, c.delegate) if d is not None), key=_share)
            where = f"{list(far.position)}: {far.received:.6g}, Keras {far.expected:.6g}"
            deviations = tuple("-" if d is None else f"{d.deviation:.2e}" for d in (c.stock, c.delegate, c.between))
            verdict = "ok" if c.passed else "DEVIATES"
            rows.append((f"{c.kind} {c.name}", c.op, *deviations, f"{c.stock.allowed:.2e}", where, verdict))
        footer = [f"delegate: {self.delegate}"]
        footer += [f"not compared: {name}: {reason}" for name, reason in self.unmapped]
        return build_table(
            f"{self.path}: Keras hard weights, stock runtime, delegate", columns, rows, "\n".join(footer)
        )

    def __str__(self) -> str:
        return as_text(self.table())


def _share(deviation: Deviation) -> float:
    return deviation.deviation / deviation.allowed if deviation.allowed else float(deviation.deviation > 0)


def verify(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    per_layer: bool = False,
    *,
    tolerance: float | None = None,
    num_threads: int | None = None,
    input_signature: Any = None,
) -> VerifyReport:
    """Runs a plain Keras model and its `.tflite` on the same inputs and compares them.

    Args:
        model: the plain Keras model with hard weights (`strip` of the quantised one).
        path: the `.tflite` exported from it.
        x: the inputs: an array `[batch, ...]`, a list of arrays in the model's order, or a dict by input name.
        per_layer: also compare the output of every operator with a decoded weight.
        tolerance: allowed deviation, as a share of the largest magnitude of an output; None for what rounding explains, which is
            more with int8 activations.
        num_threads: threads of the runtime; None for its default.
        input_signature: see `export_frozen`.

    Returns:
        The largest deviation of every output (and layer), where it is, and whether all are within the tolerance.

    Raises:
        ValueError: `x` does not fit the model. InvalidFileError: no model file, or a damaged one. VerificationError: the file
            cannot be run, or has other outputs than the model.
    """
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"`tolerance` must be > 0. Received: tolerance={tolerance!r}")
    data = read_file(path)
    _, _, body = parse(data, path)
    if tolerance is None:
        tolerance = check.INT8_TOLERANCE if body.get("activations") == "int8" else check.RELATIVE_TOLERANCE
    model = in_float32(model)
    inputs = check.as_flat_inputs(x, model_signature(model, input_signature))
    operators, unmapped = intermediates.encoded_operators(data) if per_layer else ([], [])
    watched, names = data, dict[int, str]()
    if per_layer:
        watched, names = with_outputs(data, [t for o in operators for t in o.outputs])
        expected, calls = intermediates.keras_calls(model, inputs, input_signature)
    else:
        expected, calls = check.run_keras(model, inputs, input_signature), []
    stock = _run(check.make_interpreter(watched, num_threads or 1), inputs, expected)
    delegate, note = _run_delegate(watched, num_threads, inputs, expected)
    outputs = tuple(
        _compare(name, "output", "", values, stock[name], None if delegate is None else delegate[name], tolerance)
        for name, values in expected.items()
    )
    layers, missing = _compare_layers(operators, names, calls, stock, delegate, tolerance)
    missing += [(name, "it is in a control-flow body") for name in unmapped]
    return VerifyReport(os.fspath(path), tolerance, outputs, tuple(layers), tuple(missing), note)


def _run(interpreter: Any, inputs: Sequence[np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's outputs by name and, behind them in the file, added ones by their tensor's name.

    Outputs are paired by position: files of other writers have other names.
    """
    received = check.run_interpreter(interpreter, inputs, dequantize=True)
    if len(received) < len(expected):
        raise VerificationError(
            f"the file must have the outputs {list(expected)}. Received: {[n for n, _ in received]}"
        )
    own = {name: values for name, (_, values) in zip(expected, received, strict=False)}
    return {**dict(received), **own}


def _run_delegate(
    data: bytes, num_threads: int | None, inputs: Sequence[np.ndarray], expected: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray] | None, str]:
    """The same in our delegate; None with the reason where it cannot be loaded."""
    try:
        from dgms_keras.runtime.interpreter import Interpreter

        interpreter = Interpreter(model_content=data, num_threads=num_threads, delegate=True)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        return None, f"not run: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    outputs = _run(interpreter, inputs, expected)
    return outputs, f"{interpreter.delegated_nodes()} nodes"


def _compare(
    name: str,
    kind: str,
    op: str,
    keras: np.ndarray,
    stock: np.ndarray,
    delegate: np.ndarray | None,
    tolerance: float,
) -> Comparison:
    return Comparison(
        name=name,
        kind=kind,
        op=op,
        stock=check.deviation(name, keras, stock, tolerance),
        delegate=None if delegate is None else check.deviation(name, keras, delegate, tolerance),
        between=None if delegate is None else check.deviation(name, stock, delegate, tolerance),
    )


def _compare_layers(
    operators: Sequence[intermediates.EncodedOperator],
    names: Mapping[int, str],
    calls: Sequence[intermediates.Call],
    stock: Mapping[str, np.ndarray],
    delegate: Mapping[str, np.ndarray] | None,
    tolerance: float,
) -> tuple[list[Comparison], list[tuple[str, str]]]:
    """Pairs the operators with the layers' outputs.

    One operator is a layer with the BatchNorm and the activation behind it, and a few more operators may undo a reshape. Along
    both lines the closest pair is the one meant; the operators behind count only where the layer's own agrees with nothing.
    """
    compared, missing = [], []
    for operator in operators:
        name = f"{operator.layer}/{operator.weight}"
        firsts = [c for c in calls if c.path == operator.layer]
        lines = [c.output for first in firsts for c in intermediates.downstream(calls, first)]
        found: list[Comparison] = []
        for tensor in operator.outputs:
            values = stock[names[tensor]]
            for keras in (k for k in lines if k.size == values.size):
                other = None if delegate is None else delegate[names[tensor]].reshape(keras.shape)
                stock_values = values.reshape(keras.shape)
                found.append(_compare(name, "layer", operator.op, keras, stock_values, other, tolerance))
            if any(c.stock.passed for c in found):
                break
        if found:
            compared.append(min(found, key=lambda c: _share(c.stock)))
        elif not firsts:
            missing.append((name, "no layer of the model was called under this name"))
        else:
            missing.append(
                (name, f"no output of {operator.op} has the size of the layer's: it is a part of the layer only")
            )
    return compared, missing


__all__ = ["Comparison", "VerifyReport", "verify"]
