"""From the converter's float `.tflite` to an int8 file with index + codebook weights, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.export.int8.codebooks import Int8Layer, float_weight, quantize_layer
from dgms_keras.export.int8.layers import CHANNEL_AXES, Pair, pair_operators
from dgms_keras.export.int8.options import Int8Options
from dgms_keras.export.int8.quantize import quantize
from dgms_keras.export.int8.representative import Batch
from dgms_keras.export.int8.statistics import Reader, collect_input_means
from dgms_keras.export.int8.write import write_layers
from dgms_keras.export.operands import Use, assign, float_constants, why_not
from dgms_keras.export.report import MOST_DB, WeightRow, snr_db
from dgms_keras.export.rewrite import keep_small_ones, make_row, write_metadata
from dgms_keras.frozen import FrozenWeight


@dataclasses.dataclass(frozen=True, eq=False)
class Int8Chain:
    """One operator that a file holds with a chain.

    Args:
        pair: the operator, in the float graph and in TensorFlow's int8 graph.
        layer: its int8 weight and bias.
        output: the tensor of the file that it writes.
    """

    pair: Pair
    layer: Int8Layer
    output: int

    @property
    def name(self) -> str:
        """Of the weight."""
        return self.layer.weight.name


@dataclasses.dataclass(frozen=True, eq=False)
class Int8File:
    """An int8 file and what it was made from.

    Args:
        data: the file.
        float_data: the float graph that was calibrated.
        quantized: TensorFlow's dense int8 file.
        twin: the same as `data`, with the int8 weights themselves instead of chains.
        rows: one per frozen weight.
        chains: the operators with decoded weights.
    """

    data: bytes
    float_data: bytes
    quantized: bytes
    twin: bytes
    rows: tuple[WeightRow, ...]
    chains: tuple[Int8Chain, ...]


def build(
    float_data: bytes,
    frozen: Sequence[FrozenWeight],
    batches: Sequence[Batch],
    *,
    inference_type: str = "float32",
    options: Int8Options | None = None,
    activation_ranges: Mapping[str, tuple[float, float]] | None = None,
    even_if_larger: bool = False,
) -> Int8File:
    """Calibrates, quantises and compresses a float graph.

    Args:
        float_data: the converter's dense float `.tflite`.
        frozen: the weights to encode, in Keras's layout.
        batches: calibration data.
        inference_type: see `quantize`.
        options: how codebooks become int8; None for the defaults.
        activation_ranges: see `export_frozen`.
        even_if_larger: also encode weights that are smaller dense.
    """
    options = options or Int8Options()
    float_data = unfold_inputs(float_data, frozen)
    float_model = fio.read_model(float_data)
    operands = float_constants(float_model)
    uses = assign(operands, frozen)
    ranges = _tensor_ranges(float_model, frozen, uses, activation_ranges or {})
    quantized = quantize(float_data, batches, inference_type, ranges)
    pairs = _pairs_of(float_model, fio.read_model(quantized), uses)
    reasons = [
        why_not(weight, use, operands) or _why_not_int8(use, pairs) for weight, use in zip(frozen, uses, strict=True)
    ]
    layers = _make_layers(float_data, frozen, uses, pairs, reasons, batches, options)
    encoded = [
        [layers[id(u)].weight for u in use] if not reason else [] for use, reason in zip(uses, reasons, strict=True)
    ]
    small = set() if even_if_larger else keep_small_ones(frozen, uses, encoded, reasons, activations="int8")
    jobs = [(pairs[id(u)], layers[id(u)]) for use, e in zip(uses, encoded, strict=True) if e for u in use]

    model = fio.read_model(quantized)
    operators = write_layers(model, jobs)
    rows = []
    for n, weight in enumerate(frozen):
        row = make_row(weight, uses[n], encoded[n], reasons[n], n in small)
        ratios = [_weight_snr(layers[id(u)], u) for u in uses[n]] if encoded[n] else []
        rows.append(dataclasses.replace(row, weight_snr_db=min(ratios, default=None)))
    write_metadata(model, frozen, rows, uses, encoded, activations="int8")
    data = fio.write_model(model)
    twin = fio.read_model(quantized)
    write_layers(twin, jobs, dense=True)
    chains = tuple(Int8Chain(*job, op.outputs[0]) for job, op in zip(jobs, operators, strict=True))
    return Int8File(data, float_data, quantized, fio.write_model(twin), tuple(rows), chains)


def _tensor_ranges(
    model: Any, frozen: Sequence[FrozenWeight], uses: Sequence[Sequence[Use]], ranges: Mapping[str, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    """The ranges of weights' inputs as ranges of tensors of the main graph: those of all their readers together, where each has one."""
    graph = model.subgraphs[0]
    found: dict[int, list[tuple[float, float]]] = {}
    for weight, use in zip(frozen, uses, strict=True):
        for u in use:
            if weight.name in ranges and u.operand.graph == 0 and u.operand.slot == 1:
                found.setdefault(u.operand.op.inputs[0], []).append(ranges[weight.name])
    readers = {t: sum(int(t in op.inputs) for op in graph.operators) + int(t in graph.outputs) for t in found}
    return {
        t: (min(low for low, _ in each), max(high for _, high in each))
        for t, each in found.items()
        if len(each) == readers[t]
    }


def _weight_snr(layer: Int8Layer, use: Use) -> float:
    """Signal-to-noise ratio in dB of one operator's weights, float against int8: the median over its output channels.

    Over all weights at once a single large one would hide what its range does to the others.
    """
    wanted = np.moveaxis(float_weight(use.match), layer.channel_axis, 0).reshape(len(layer.scale), -1)
    got = np.moveaxis(layer.values(), layer.channel_axis, 0).reshape(len(layer.scale), -1)
    ratios = [snr_db(s, n) for s, n in zip((wanted**2).sum(1), ((got - wanted) ** 2).sum(1), strict=True) if s > 0]
    return float(np.median(ratios)) if ratios else MOST_DB


def unfold_inputs(data: bytes, frozen: Sequence[FrozenWeight]) -> bytes:
    """The float graph with factors that the converter folded into the *rows* of a weight back on the activations.

    A BatchNorm before a fully connected layer is such a factor; no codebook survives it.
    """
    model = fio.read_model(data)
    uses = [
        u
        for use in assign(float_constants(model), frozen)
        for u in use
        if u.match.input_scale is not None and u.operand.accepted and u.operand.scalable_input
    ]
    if not uses:
        return data
    by_operator = {id(u.operand.op): u for u in uses}
    for graph in model.subgraphs:
        editor, operators = GraphEditor(model, graph), []
        for op in graph.operators:
            use = by_operator.get(id(op))
            if use is not None:
                values = float_weight(use.match).astype(np.float32)
                op.inputs[use.operand.slot] = editor.constant(values, use.operand.name)
                factors = editor.constant(use.match.input_scale, f"{use.operand.name}/input_scale")
                op.inputs[0] = editor.scale_activations(op.inputs[0], factors)
            operators += [*editor.take(), op]
        graph.operators = operators
    return fio.write_model(model)


def _pairs_of(float_model: Any, int8_model: Any, uses: Sequence[Sequence[Use]]) -> dict[int, Pair]:
    """By identity of the use, the operators in both graphs."""
    found = pair_operators(float_model, int8_model)
    position = {id(op): (g, n) for g, graph in enumerate(float_model.subgraphs) for n, op in enumerate(graph.operators)}
    pairs = {}
    for use in (u for of_one in uses for u in of_one):
        pair = found.get(position[id(use.operand.op)])
        if pair is not None and use.operand.slot == 1:
            pairs[id(use)] = pair
    return pairs


def _why_not_int8(uses: Sequence[Use], pairs: dict[int, Pair]) -> str | None:
    """Why a weight cannot be encoded in an int8 file although it could in a float one; None if it can."""
    others = sorted({u.operand.op_name for u in uses if u.operand.op_name not in CHANNEL_AXES})
    if others:
        return f"it feeds {', '.join(others)}; in int8 files only {', '.join(CHANNEL_AXES)} take decoded weights"
    for use in uses:
        pair = pairs.get(id(use))
        if pair is None:
            return f"TensorFlow's quantiser changed the {use.operand.op_name} that reads it"
        if pair.problem:
            return pair.problem
        if not pair.per_channel and use.match.codes.shape[CHANNEL_AXES[pair.op]] > 1:
            return "TensorFlow's quantiser gave the weight a single scale instead of one for each channel"
    return None


def _make_layers(
    float_data: bytes,
    frozen: Sequence[FrozenWeight],
    uses: Sequence[Sequence[Use]],
    pairs: dict[int, Pair],
    reasons: Sequence[str | None],
    batches: Sequence[Batch],
    options: Int8Options,
) -> dict[int, Int8Layer]:
    """By identity of the use, the weight and bias of every operator that can be encoded."""
    todo = [(weight, u) for weight, use, reason in zip(frozen, uses, reasons, strict=True) if not reason for u in use]
    means: dict[int, np.ndarray] = {}
    if options.bias_correction:
        watched = {id(u): pairs[id(u)] for _, u in todo}
        readers = {key: Reader.of(p.op, p.shape, p.float_op.builtinOptions) for key, p in watched.items()}
        inputs = {key: p.float_input for key, p in watched.items()}
        means = collect_input_means(float_data, readers, batches, inputs) if readers else {}
    return {id(u): _make_layer(weight, u, pairs[id(u)], means.get(id(u)), options) for weight, u in todo}


def _make_layer(
    weight: FrozenWeight, use: Use, pair: Pair, means: np.ndarray | None, options: Int8Options
) -> Int8Layer:
    return quantize_layer(
        name=weight.name,
        bits=weight.bits,
        match=use.match,
        channel_axis=CHANNEL_AXES[pair.op],
        bias=pair.bias,
        input_scale=pair.input_scale,
        output_scale=pair.output_scale,
        input_means=means,
        options=options,
    )
