"""Values inside a `.tflite`, on top of its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dgms_keras.export import check
from dgms_keras.export import flatbuffer_io as fio


def with_outputs(data: bytes, tensors: Sequence[int]) -> tuple[bytes, dict[int, str]]:
    """The same model with more outputs, behind its own: bytes -> bytes.

    Returns:
        The new file, and the output name of every tensor asked for.
    """
    model = fio.read_model(data)
    graph = model.subgraphs[0]
    names = {}
    for tensor in dict.fromkeys(tensors):
        if tensor not in graph.outputs:
            graph.tensors[tensor].name = f"dgms_inner_{tensor}"
            graph.outputs.append(tensor)
        names[tensor] = graph.tensors[tensor].name
    return fio.write_model(model), names


def run_watching(
    data: bytes, tensors: Sequence[int], batches: Sequence[list[np.ndarray]]
) -> Iterator[dict[int, np.ndarray]]:
    """Runs a file in the stock runtime and yields, for each batch, the values of these tensors of its main subgraph.

    int8 values come as the float32 values that they stand for.
    """
    inputs = fio.read_model(data).subgraphs[0].inputs
    watched, names = with_outputs(data, [t for t in tensors if t not in inputs])
    interpreter = check.make_interpreter(watched)
    for batch in batches:
        values = dict(check.run_interpreter(interpreter, batch, dequantize=True))
        yield {t: batch[inputs.index(t)] if t in inputs else values[names[t]] for t in tensors}
