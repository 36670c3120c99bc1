"""What is verified before an int8 file is offered, and the signal-to-noise ratios that its report shows.

Four rules, each with an oracle of its own:

1. Read back from the bytes, every chain decodes to the int8 weights that were intended, bit for bit, with their scales and bias; and
   those are the float graph's weights up to the rounding of the codebook.
2. In the stock runtime the file computes what its twin with dense int8 weights computes, bit for bit, in the same kernels.
3. The float graph that was quantised computes what the Keras model computes, to rounding (export/exporter.py).
4. Against Keras, an output may be as noisy as quantisation makes it: see `_allowed_noise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import check
from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.errors import VerificationError
from dgms_keras.export.inspect import chains, parse
from dgms_keras.export.int8.codebooks import Int8Layer, along
from dgms_keras.export.int8.pipeline import Int8File
from dgms_keras.export.int8.representative import Batch
from dgms_keras.export.int8.write import quantization_of
from dgms_keras.export.report import MOST_DB, OutputSnr, snr_db
from dgms_keras.export.watch import run_watching

# An output of which less than this is left besides the noise is wrong, unless TensorFlow's dense int8 file is as noisy. Rounding
# alone leaves 20 to 50 dB; a wrong layout, scale or operator at most about 0.
_LEAST_DB = 6.0
# How much noisier than TensorFlow's dense int8 file an output may be that has less than that: 10 dB, as energy.
_NOISE_FACTOR = 10.0


def check_weights(file: Int8File) -> None:
    """Rule 1.

    Raises:
        VerificationError: a chain decodes to something else, has other scales or another bias, or cannot be read back.
    """
    model, _, _ = parse(file.data)
    readers = {}
    for number, _, chain in chains(model):
        for op in (o for o in model.subgraphs[number].operators if chain.tensor in o.inputs):
            readers[number, op.outputs[0]] = (chain, op)
    if len(readers) != len(file.chains):
        raise VerificationError(f"the file must hold {len(file.chains)} readable decode chains. Found: {len(readers)}")
    reference = fio.read_model(file.float_data)
    for written in file.chains:
        name, pair, layer = written.name, written.pair, written.layer
        if (pair.graph, written.output) not in readers:
            raise VerificationError(f"the chain of {name!r} cannot be read back")
        chain, op = readers[pair.graph, written.output]
        if not np.array_equal(chain.decode(), layer.integers()):
            raise VerificationError(f"the weight {name!r} ({pair.op}) does not decode to the intended int8 values")
        graph = model.subgraphs[pair.graph]
        _check_quantization(name, graph.tensors[chain.tensor], layer.scale, layer.channel_axis)
        if layer.bias is not None:
            bias = graph.tensors[op.inputs[2]]
            _check_quantization(f"{name}, bias", bias, layer.bias_scale, 0)
            if not np.array_equal(fio.constant(model, bias), layer.bias):
                raise VerificationError(f"the bias of {name!r} is not the intended one")
        before = reference.subgraphs[pair.graph]
        dense = fio.constant(reference, before.tensors[before.operators[pair.float_position].inputs[1]])
        assert dense is not None
        _check_rounding(name, layer, dense)


def _check_quantization(name: str, tensor: Any, scale: np.ndarray, axis: int) -> None:
    scales, zeros, dimension = quantization_of(tensor)
    if not np.array_equal(scales, scale) or zeros.any() or (len(scales) > 1 and dimension != axis):
        raise VerificationError(f"the quantisation of {name!r} is not the intended one")


def _check_rounding(name: str, layer: Int8Layer, dense: np.ndarray) -> None:
    """Each weight is the float graph's, within half a step of its channel; farther off only what the int8 range clips.

    Channels that read a codebook of zeros have weights too small for the output to move.
    """
    step = along(layer.scale.astype(np.float64), layer.channel_axis, dense.ndim)
    integers = layer.integers()
    error = np.abs(layer.values() - dense)
    idle = ~np.any(np.moveaxis(integers, layer.channel_axis, 0).reshape(len(layer.scale), -1), axis=1)
    clipped = (np.abs(integers) == 127) & (np.abs(dense) > 127 * step) & (np.sign(integers) == np.sign(dense))
    # A float32 factor times a float32 scale: rounded twice.
    allowed = 0.5 * step + 2.0**-20 * np.abs(dense)
    wrong = (error > allowed) & ~clipped & ~along(idle, layer.channel_axis, dense.ndim)
    if np.any(wrong):
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise VerificationError(
            f"the weight {name!r} must be the converter's, rounded. Received: {layer.values()[at]:.6g} at {list(at)}, "
            f"converter {float(dense[at]):.6g}, step {float(np.broadcast_to(step, dense.shape)[at]):.3g}"
        )


def check_twin(file: Int8File, inputs: Sequence[np.ndarray]) -> None:
    """Rule 2, in TFLite's builtin kernels without a delegate, which round in one way.

    Raises:
        VerificationError: an output differs.
    """
    if not file.chains:
        return
    both = [
        check.run_interpreter(check.make_interpreter(data, delegates=False), inputs) for data in (file.data, file.twin)
    ]
    for (name, decoded), (_, dense) in zip(*both, strict=True):
        if not np.array_equal(decoded, dense, equal_nan=dense.dtype.kind == "f"):
            raise VerificationError(
                f"output {name!r} must be that of the same file with dense int8 weights, bit for bit. Received: "
                f"{int(np.count_nonzero(decoded != dense))} of {dense.size} values differ"
            )


def check_outputs(
    file: Int8File, inputs: Sequence[np.ndarray], expected: Mapping[str, np.ndarray]
) -> tuple[OutputSnr, ...]:
    """Rule 4, in the stock runtime as it comes.

    Args:
        file: the file.
        inputs: what to run it on; calibration data, unless the user gives something else.
        expected: the Keras model's outputs.

    Returns:
        The ratio of each float output, and that of TensorFlow's dense int8 file.

    Raises:
        VerificationError: an output's name, shape or values differ.
    """
    names = check.output_names(file.data)
    if names != list(expected):
        raise VerificationError(f"the outputs must be {list(expected)}, as in Keras. Received: {names}")
    # XNNPACK refuses some of TensorFlow's own files (layers that are always 0), so the reference runs without it.
    ours, theirs = (
        [v for _, v in check.run_interpreter(check.make_interpreter(data, delegates=d), inputs, dequantize=True)]
        for data, d in ((file.data, True), (file.quantized, False))
    )
    found = []
    for (name, reference), value, dense in zip(expected.items(), ours, theirs, strict=True):
        if value.shape != reference.shape:
            raise VerificationError(
                f"{name!r} must have the shape {reference.shape}, as in Keras. Received: {value.shape}"
            )
        if reference.dtype.kind != "f":  # positions and flags: a tie may fall either way
            continue
        noise, dense_noise = (_energy(v - reference) for v in (value, dense))
        signal = _energy(reference)
        result = OutputSnr(name, snr_db(signal, noise), snr_db(signal, dense_noise))
        if not noise <= _allowed_noise(signal, dense_noise):
            raise VerificationError(
                f"output {name!r} must be the Keras model's up to int8 rounding. Received: a signal-to-noise ratio of "
                f"{result.snr_db:.1f} dB, where TensorFlow's dense int8 conversion has {result.dense_int8_snr_db:.1f} dB. If a "
                "codebook spans too wide a range for int8 (verify=False writes the file and reports each layer's ratio), "
                "retrain that layer or leave it out"
            )
        found.append(result)
    return tuple(found)


def _allowed_noise(signal: float, dense_noise: float) -> float:
    """The energy that an output's error may have."""
    return max(signal * 10 ** (-_LEAST_DB / 10), _NOISE_FACTOR * dense_noise)


def _energy(values: np.ndarray) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))


def layer_snrs(file: Int8File, batches: Sequence[Batch]) -> dict[str, float]:
    """By weight, the ratio in dB of the float graph's operator output to the int8 file's deviation from it.

    The deviation is what all of the network up to there adds: weights, activations and rounding of the layers before. Of a
    weight that several operators read it is the smallest ratio.
    """
    if not file.chains:
        return {}
    sources = [chain.pair.float_output for chain in file.chains]
    outputs = [chain.output for chain in file.chains]
    signal, noise = np.zeros(len(outputs)), np.zeros(len(outputs))
    for expected, received in zip(
        run_watching(file.float_data, sources, batches), run_watching(file.data, outputs, batches), strict=True
    ):
        for i, (source, output) in enumerate(zip(sources, outputs, strict=True)):
            signal[i] += _energy(expected[source])
            noise[i] += _energy(received[output] - expected[source])
    ratios: dict[str, float] = {}
    for i, chain in enumerate(file.chains):
        ratios[chain.name] = min(ratios.get(chain.name, MOST_DB), snr_db(signal[i], noise[i]))
    return ratios
