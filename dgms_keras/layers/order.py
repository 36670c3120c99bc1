"""Which supported layers are a model's first and last ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from dgms_keras.layers.keras_internals import is_graph


class _Behind:
    """What the analysis sends through the graph in place of a tensor: the supported layers that it has passed."""

    def __init__(self, layers: frozenset[int]) -> None:
        self.layers = layers


def first_and_last(model: keras.Model, is_supported: Callable[[keras.layers.Layer], bool]) -> tuple[set[int], set[int]]:
    """Ids of the supported layers with no supported layer before them, and of those with none behind them.

    In a chain these are the first and the last one. With several branches it is each branch's: all that see an input directly,
    and all that an output comes from directly. A layer used more than once is first if any of its uses is, and last if no
    *other* layer is behind it.

    Args:
        model: a Sequential or Functional model; such models inside it are looked into.
        is_supported: whether a layer counts.
    """
    first: set[int] = set()
    with_successor: set[int] = set()
    seen: set[int] = set()

    def call(operation: Any, args: Any, kwargs: Any) -> list[_Behind]:
        arrived = [x for x in tree.flatten((args, kwargs)) if isinstance(x, _Behind)]
        if is_graph(operation):
            return run(operation, arrived)
        passed = frozenset().union(*(x.layers for x in arrived))
        if isinstance(operation, keras.layers.Layer) and is_supported(operation):
            seen.add(id(operation))
            if not passed:
                first.add(id(operation))
            with_successor.update(passed - {id(operation)})
            passed = passed | {id(operation)}
        return [_Behind(passed)] * len(operation._inbound_nodes[0].outputs)

    def run(graph: keras.Model, inputs: list[_Behind]) -> list[_Behind]:
        if isinstance(graph, keras.Sequential):
            for layer in graph.layers:
                inputs = call(layer, inputs, {})
            return inputs
        outputs = graph._run_through_graph(inputs, operation_fn=lambda op: lambda *a, **k: call(op, a, k))
        return tree.flatten(outputs)

    run(model, [_Behind(frozenset()) for _ in model.inputs])
    return first, seen - with_successor
