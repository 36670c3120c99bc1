"""Values inside a network: the outputs of Keras layers, and those of the operators of a `.tflite`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.check import run_keras, to_numpy
from dgms_keras.export.inspect import chains, parse, weight_names
from dgms_keras.export.signature import flatten

# How far a line of operators or layers is followed.
_STEPS = 4
# Operators that finish what a layer began: a BatchNorm that was not folded, an activation, a change of layout.
_FOLLOWING_OPS = {
    *(
        "ADD",
        "MUL",
        "SUB",
        "DEQUANTIZE",
        "RELU",
        "RELU6",
        "LEAKY_RELU",
        "ELU",
        "TANH",
        "LOGISTIC",
        "HARD_SWISH",
        "GELU",
        "SOFTMAX",
    ),
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "BATCH_TO_SPACE_ND", "STRIDED_SLICE", "SLICE"),
}


@dataclasses.dataclass
class Call:
    """One call of one leaf layer while a model ran.

    Args:
        path: of the layer, e.g. `"backbone/conv1"`.
        sources: identities of its input tensors; `results`: of its output tensors.
        output: its first output.
        follows: whether the converter may merge it into the operator before it: it has no weights, or is a BatchNorm.
    """

    path: str
    sources: tuple[int, ...]
    results: tuple[int, ...]
    output: np.ndarray
    follows: bool


def leaf_layers(model: Any) -> list[tuple[str, Any]]:
    """Every layer that holds no other layer, with its path; a shared layer once."""
    found: dict[int, tuple[str, Any]] = {}

    def walk(parent: Any, prefix: str) -> None:
        for layer in getattr(parent, "layers", None) or parent._layers:
            if id(layer) in found:
                continue
            path = f"{prefix}{layer.name}"
            inner = getattr(layer, "layers", None) or getattr(layer, "_layers", None)
            if inner:
                walk(layer, f"{path}/")
            else:
                found[id(layer)] = (path, layer)

    walk(model, "")
    return list(found.values())


def keras_calls(
    model: Any, inputs: Sequence[np.ndarray], input_signature: Any = None
) -> tuple[dict[str, np.ndarray], list[Call]]:
    """Runs a model once and records what each leaf layer made of its inputs, in nested, shared and subclassed models alike.

    Returns:
        The model's outputs by name, and the calls in their order.
    """
    calls: list[Call] = []
    keep: list[Any] = []  # tensors stay alive, so that their identities stay theirs

    def record(path: str, layer: Any) -> Any:
        original = layer.call
        follows = not layer.weights or type(layer).__name__ == "BatchNormalization"

        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            sources = [leaf for _, leaf in flatten([list(args), dict(kwargs)])]
            results = [leaf for _, leaf in flatten(result)]
            keep.extend([sources, results])
            calls.append(Call(path, tuple(map(id, sources)), tuple(map(id, results)), to_numpy(results[0]), follows))
            return result

        return call

    with contextlib.ExitStack() as stack:
        for path, layer in leaf_layers(model):
            stack.enter_context(_replaced(layer, record(path, layer)))
        outputs = run_keras(model, inputs, input_signature)
    return outputs, calls


@contextlib.contextmanager
def _replaced(layer: Any, call: Any) -> Iterator[None]:
    """The layer with another `call`, for a while. Set past Keras's own __setattr__, which would track it."""
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def downstream(calls: Sequence[Call], first: Call) -> list[Call]:
    """The call and those that follow it in a line and may be one operator with it: BatchNorm, activation, reshapes."""
    line = [first]
    for call in calls[calls.index(first) + 1 :]:
        if len(line) > _STEPS or (set(call.sources) & set(line[-1].results) and not call.follows):
            break
        if set(call.sources) & set(line[-1].results):
            line.append(call)
    return line


@dataclasses.dataclass(frozen=True)
class EncodedOperator:
    """An operator that reads a decoded weight.

    Args:
        layer, weight: from the file's metadata.
        op: its name.
        outputs: tensors of the main subgraph to look at: its own output, then those of the operators that follow in a line.
    """

    layer: str
    weight: str
    op: str
    outputs: tuple[int, ...]


def encoded_operators(data: bytes) -> tuple[list[EncodedOperator], list[str]]:
    """The operators of the main subgraph with decoded weights, and the names of those in other subgraphs."""
    model, _, body = parse(data)
    names = weight_names(body)
    found, elsewhere = [], []
    for number, op, chain in chains(model):
        graph = model.subgraphs[number]
        tensor = graph.tensors[chain.tensor].name or f"tensor {chain.tensor}"
        layer, weight = names.get(tensor, (tensor, ""))
        if number:
            elsewhere.append(f"{layer}/{weight}")
            continue
        readers = [] if chain.by_rows else [o for o in graph.operators if chain.tensor in o.inputs]
        for first in [chain.tensor] if chain.by_rows else [o.outputs[0] for o in readers]:
            found.append(EncodedOperator(layer, weight, op, tuple(_line(model, graph, first))))
    return found, elsewhere


def _line(model: Any, graph: Any, tensor: int) -> list[int]:
    line = [tensor]
    for _ in range(_STEPS):
        readers = [o for o in graph.operators if line[-1] in o.inputs]
        if len(readers) != 1 or fio.op_name(model, readers[0]) not in _FOLLOWING_OPS:
            break
        line.append(readers[0].outputs[0])
    return [t for t in line if graph.tensors[t].type in (fio.schema.TensorType.FLOAT32, fio.schema.TensorType.INT8)]
