"""Equal models become equal files, whichever Keras built their graphs: tensors and buffers in the order of their use, no hash of
TensorFlow's graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import flatbuffers
import numpy as np


def make_canonical(model: Any) -> None:
    """Takes out of a converted model what depends on how a Keras happens to build its graph; in place.

    Args:
        model: a flatbuffer `ModelT` from TensorFlow's converter.
    """
    sort_by_use(model)
    _forget_graph_hash(model)


def _forget_graph_hash(model: Any) -> None:
    """The converter's metadata (its version and options) has a hash of the TensorFlow graph, the order of its nodes included."""
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as schema

    for entry in model.metadata or ():
        if entry.name not in ("CONVERSION_METADATA", b"CONVERSION_METADATA"):
            continue
        buffer = model.buffers[entry.buffer]
        content = schema.ConversionMetadataT.InitFromPackedBuf(bytes(buffer.data))
        content.environment.modelHash = 0
        builder = flatbuffers.Builder(256)
        builder.Finish(content.Pack(builder))
        buffer.data = np.frombuffer(bytes(builder.Output()), np.uint8)


def sort_by_use(model: Any) -> None:
    """Reorders the tensors of each subgraph by their first use (inputs first), and the buffers likewise; in place.

    Args:
        model: a flatbuffer `ModelT`; its operators stay in their order.
    """
    for number, graph in enumerate(model.subgraphs):
        used = [t for op in graph.operators for t in _tensors(op)]
        order = _first_uses([*graph.inputs, *used, *graph.outputs], len(graph.tensors))
        place = {old: new for new, old in enumerate(order)}
        place[-1] = -1  # an optional input that is not there
        graph.tensors = [graph.tensors[t] for t in order]
        graph.inputs = [place[int(t)] for t in graph.inputs]
        graph.outputs = [place[int(t)] for t in graph.outputs]
        for op in graph.operators:
            for field in ("inputs", "outputs", "intermediates"):
                if getattr(op, field) is not None:
                    setattr(op, field, [place[int(t)] for t in getattr(op, field)])
        for signature in model.signatureDefs or ():
            if signature.subgraphIndex == number:
                for entry in [*signature.inputs, *signature.outputs]:
                    entry.tensorIndex = place[entry.tensorIndex]
    _sort_buffers(model)


def _tensors(op: Any) -> list[int]:
    """Every tensor of an operator."""
    lists = (op.inputs, op.outputs, op.intermediates)
    return [int(t) for tensors in lists if tensors is not None for t in tensors if t >= 0]


def _sort_buffers(model: Any) -> None:
    """Buffer 0 stays: by convention it is the empty one."""
    holders = [t for graph in model.subgraphs for t in graph.tensors] + list(model.metadata or ())
    order = _first_uses([0, *(h.buffer for h in holders)], len(model.buffers))
    place = {old: new for new, old in enumerate(order)}
    model.buffers = [model.buffers[b] for b in order]
    for holder in holders:
        holder.buffer = place[holder.buffer]


def _first_uses(used: Iterable[int], count: int) -> list[int]:
    """The numbers below `count`, those in `used` first, in that order."""
    return list(dict.fromkeys([*(int(u) for u in used), *range(count)]))
