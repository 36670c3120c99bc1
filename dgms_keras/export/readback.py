"""Reads the chains back from a file's bytes and holds what they decode to against the converter's dense weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.chain_reader import Chain
from dgms_keras.export.errors import VerificationError
from dgms_keras.export.inspect import chains, parse
from dgms_keras.export.match import RELATIVE_TOLERANCE
from dgms_keras.export.report import WeightRow

# Factors of rows and columns are recovered within twice RELATIVE_TOLERANCE; their product is rounded twice more.
_INEXACT_TOLERANCE = 4 * RELATIVE_TOLERANCE


def check_weights(data: bytes, dense: bytes, rows: Sequence[WeightRow]) -> None:
    """Compares every decoded weight of a rewritten file with the constant it replaced.

    Args:
        data: the rewritten file.
        dense: the converter's file.
        rows: what the rewriting reported.

    Raises:
        VerificationError: a weight differs, bit for bit (or, where the converter rounded twice, by more than a few units in
            the last place), or a chain cannot be read back.
    """
    model, _, _ = parse(data)
    reference = _constants_by_reader(parse(dense)[0])
    exact = {name for row in rows if row.exact for name in row.tensors}
    unfolded = {row.name for row in rows if row.unfolded}
    found = 0
    for number, op, chain in chains(model):
        graph = model.subgraphs[number]
        shown = graph.tensors[chain.tensor].name
        for output, slot, factors in _readers(model, graph, chain, shown in unfolded):
            key = (number, graph.tensors[output].name, slot)
            if key not in reference:
                raise VerificationError(f"the chain of {shown!r} has no dense counterpart")
            name, expected = reference[key]
            if expected.size != chain.codes.size:
                raise VerificationError(
                    f"the chain of {shown!r} has {chain.codes.size} elements, {name!r} {expected.size}"
                )
            decoded = (chain.decode().reshape(expected.shape) * factors).astype(np.float32)
            tolerance = 0.0 if name in exact else _INEXACT_TOLERANCE
            # The smallest normal number: denormal factors have fewer bits than the tolerance asks for.
            floor = np.finfo(np.float32).tiny
            if not np.all(np.abs(decoded - expected) <= tolerance * np.maximum(np.abs(expected), floor)):
                raise VerificationError(f"the weight {shown!r} ({op}) does not decode to the converter's {name!r}")
            found += 1
    wanted = sum(row.chains for row in rows)
    if found != wanted:
        raise VerificationError(f"the file must hold {wanted} readable decode chains. Found: {found}")


def _readers(model: Any, graph: Any, chain: Chain, unfolded: bool) -> list[tuple[int, int, np.ndarray]]:
    """First output of each operator that reads a chain, at which input, and the factors that stand on its other input."""
    one = np.ones(1, np.float32)
    if chain.by_rows:
        return [(chain.tensor, 0, one)]
    producer = {t: op for op in graph.operators for t in op.outputs}
    readers = []
    for op in (o for o in graph.operators if chain.tensor in o.inputs):
        before = producer.get(op.inputs[0]) if unfolded else None
        factors = fio.constant(model, graph.tensors[before.inputs[1]]) if before is not None else None
        readers.append((op.outputs[0], op.inputs.index(chain.tensor), one if factors is None else factors))
    return readers


def _constants_by_reader(model: Any) -> dict[tuple[int, str, int], tuple[str, np.ndarray]]:
    """(subgraph, name of an operator's first output, input) -> name and value of a constant it reads."""
    found = {}
    for number, graph in enumerate(model.subgraphs):
        for op in graph.operators:
            for slot, index in enumerate(op.inputs):
                value = fio.constant(model, graph.tensors[index]) if index >= 0 else None
                if value is not None and value.dtype == np.float32:
                    found[number, graph.tensors[op.outputs[0]].name, slot] = (graph.tensors[index].name, value)
    return found
