"""What the delegate must leave to the runtime, and what it must take, on real runtimes.

Every case changes one thing in a model with one decode chain. "Left": the delegate claims nothing, reports nothing, and the
runtime answers (result or error) exactly as it does without the delegate. "Claimed": it is claimed and right.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import ConvModel, conv_model, library, run
from graph_files import ACTIVATIONS, PADDINGS, schema
from random_graphs import captured_stderr, claims

WITHOUT_XNNPACK = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


@pytest.fixture(scope="module")
def delegate() -> Any:
    return litert.load_delegate(library(), {"log": "1", "num_threads": "2"})


def answer(
    data: bytes, x: np.ndarray, delegates: list[Any], **arguments: Any
) -> tuple[list[np.ndarray] | str, list[str]]:
    """(the outputs, or the error's text), and what was written to stderr."""
    with captured_stderr() as lines:
        try:
            interpreter = litert.Interpreter(
                model_content=data,
                experimental_delegates=delegates or None,
                experimental_op_resolver_type=WITHOUT_XNNPACK,
                **arguments,
            )
            result: list[np.ndarray] | str = run(interpreter, x)
        except (RuntimeError, ValueError) as error:
            result = str(error)
    return result, lines


def check_left(model: ConvModel, delegate: Any, **arguments: Any) -> list[str]:
    data = model.file.bytes()
    x = np.random.default_rng(1).standard_normal(model.shape).astype(np.float32)
    stock, _ = answer(data, x, [], **arguments)
    ours, lines = answer(data, x, [delegate], **arguments)
    assert claims(lines)[0] == 0, lines
    assert type(ours) is type(stock), (ours, stock)
    if isinstance(stock, str):
        assert ours == stock
    else:
        for a, b in zip(ours, stock, strict=True):
            assert a.tobytes() == b.tobytes()
    return lines


def check_claimed(model: ConvModel, delegate: Any, expected: np.ndarray | None = None) -> None:
    x = np.random.default_rng(1).standard_normal(model.shape).astype(np.float32)
    ours, lines = answer(model.file.bytes(), x, [delegate])
    assert claims(lines) == (1, 1), lines
    assert not isinstance(ours, str), ours
    wanted = model.expected(x) if expected is None else expected
    assert np.all(np.abs(ours[0] - wanted) <= model.bound(x))


# -- parts of a chain ------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "4 bits": {"bits": 4},
    "3 bits": {"bits": 3},
    "2 bits, padded": {"bits": 2, "shape": (1, 6, 6, 3)},
    "3 bits, padded": {"bits": 3, "shape": (1, 6, 6, 3)},
    "4 bits, groups, padded": {"bits": 4, "group_size": 3, "shape": (1, 6, 6, 3)},
    "3 bits, groups": {"bits": 3, "group_size": 2},
}
CONSTANTS = ("packed", "table", "codebook", "scale", "offset", "begin", "size")


def chain_tensors(model: ConvModel, constant: bool) -> list[str]:
    return [name for name in model.chain.tensors if (name.rstrip("01") in CONSTANTS) == constant]


@pytest.mark.parametrize("kind", KINDS)
def test_untouched_chains_are_claimed(kind: str, delegate: Any) -> None:
    check_claimed(conv_model(**KINDS[kind]), delegate)


@pytest.mark.parametrize("kind", KINDS)
def test_intermediate_as_graph_output(kind: str, delegate: Any) -> None:
    for name in chain_tensors(conv_model(**KINDS[kind]), constant=False):
        model = conv_model(**KINDS[kind])
        model.file.graph.outputs = [model.y, model.chain.tensors[name]]
        check_left(model, delegate)


@pytest.mark.parametrize("kind", KINDS)
def test_intermediate_with_a_second_reader(kind: str, delegate: Any) -> None:
    for name in chain_tensors(conv_model(**KINDS[kind]), constant=False):
        model = conv_model(**KINDS[kind])
        source = model.spoil(name)
        copy = model.file.tensor(source.shape, np.float32 if source.type == schema.TensorType.FLOAT32 else np.int32)
        shape = model.file.constant(np.asarray(source.shape, np.int32))
        model.file.op("RESHAPE", [model.chain.tensors[name], shape], [copy], schema.ReshapeOptionsT())
        model.file.graph.outputs = [model.y, copy]
        check_left(model, delegate)


@pytest.mark.parametrize("kind", KINDS)
def test_declared_shapes_that_lie(kind: str, delegate: Any) -> None:
    """Stock kernels compute the shapes anew; the delegate recomputes them, sees the lie and keeps away."""
    for name in chain_tensors(conv_model(**KINDS[kind]), constant=False):
        for shape in ([1], [7, 7, 7], [2**31 - 1, 2**31 - 1]):
            model = conv_model(**KINDS[kind])
            model.spoil(name).shape = shape
            if shape[-1] < 100:  # sizes that no machine has are refused by the runtime itself
                check_left(model, delegate)
            else:
                answer(model.file.bytes(), np.zeros(model.shape, np.float32), [delegate])


@pytest.mark.parametrize("kind", KINDS)
def test_constants_that_are_graph_inputs(kind: str, delegate: Any) -> None:
    for name in chain_tensors(conv_model(**KINDS[kind]), constant=True):
        model = conv_model(**KINDS[kind])
        tensor = model.spoil(name)
        value = model.file.buffers[tensor.buffer]
        tensor.buffer = 0
        model.file.graph.inputs = [model.x, model.chain.tensors[name]]
        data = model.file.bytes()
        results = []
        for delegates in ([], [delegate]):
            with captured_stderr() as lines:
                interpreter = litert.Interpreter(
                    model_content=data,
                    experimental_delegates=delegates or None,
                    experimental_op_resolver_type=WITHOUT_XNNPACK,
                )
                detail = interpreter.get_input_details()[1]
                values = np.frombuffer(value.tobytes(), detail["dtype"]).reshape(detail["shape"])
                try:
                    results.append(run(interpreter, np.ones(model.shape, np.float32), values)[0])
                except RuntimeError as error:
                    results.append(np.frombuffer(str(error).encode(), np.uint8))
            assert claims(lines)[0] == 0
        assert results[0].tobytes() == results[1].tobytes(), name


# -- single changes --------------------------------------------------------------------------------------------------


def quantized(tensor: Any) -> None:
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]


def set_buffer(model: ConvModel, name: str, value: np.ndarray) -> None:
    model.file.buffers[model.spoil(name).buffer] = np.frombuffer(value.tobytes(), np.uint8)


def get_buffer(model: ConvModel, name: str, dtype: Any) -> np.ndarray:
    return np.frombuffer(model.file.buffers[model.spoil(name).buffer].tobytes(), dtype).copy()


def edit_buffer(name: str, dtype: Any, at: Any, value: Any) -> Callable[[ConvModel], None]:
    def change(model: ConvModel) -> None:
        values = get_buffer(model, name, dtype)
        values[at] = value
        set_buffer(model, name, values)

    return change


def table_entry_beyond_the_codebook(model: ConvModel) -> None:
    """Only in the table: the entry for a byte value that occurs, so that stock kernels see it, too."""
    values = get_buffer(model, "table0", np.int32).reshape(256, -1)
    values[get_buffer(model, "packed0", np.uint8)[0], 0] = 16
    set_buffer(model, "table0", values)


def option(operator: str, field: str, value: Any) -> Callable[[ConvModel], None]:
    def change(model: ConvModel) -> None:
        setattr(model.operator_of(operator).builtinOptions, field, value)

    return change


def conv_option(field: str, value: Any) -> Callable[[ConvModel], None]:
    def change(model: ConvModel) -> None:
        setattr(model.file.graph.operators[model.operator].builtinOptions, field, value)

    return change


def new_shape(values: list[int]) -> Callable[[ConvModel], None]:
    """The constant shape of the chain's last RESHAPE."""

    def change(model: ConvModel) -> None:
        reshape = model.operator_of("reshape")
        reshape.inputs = [reshape.inputs[0], model.file.constant(np.asarray(values, np.int32))]
        reshape.builtinOptions.newShape = values

    return change


def bias_input(value: int) -> Callable[[ConvModel], None]:
    def change(model: ConvModel) -> None:
        conv = model.file.graph.operators[model.operator]
        conv.inputs = [*conv.inputs[:2], *([] if value == -2 else [value])]

    return change


def computed_bias(model: ConvModel) -> None:
    """A bias that is computed from a graph input."""
    values = model.file.constant(np.ones(7, np.float32))
    result = model.file.add(values, values, [7])
    operators = model.file.graph.operators
    operators.insert(0, operators.pop())
    conv = operators[model.operator + 1]
    conv.inputs = [conv.inputs[0], conv.inputs[1], result]


def small_codebook(model: ConvModel) -> None:
    model.spoil("codebook").shape = [15]


def wide_codebook(model: ConvModel) -> None:
    values = np.concatenate([get_buffer(model, "codebook", np.float32), np.ones(1, np.float32)])
    set_buffer(model, "codebook", values)
    model.spoil("codebook").shape = [17]


def tensor_change(name: str, function: Callable[[Any], None]) -> Callable[[ConvModel], None]:
    return lambda model: function(model.spoil(name))


def sparse(tensor: Any) -> None:
    tensor.sparsity = schema.SparsityParametersT()
    tensor.sparsity.traversalOrder = list(range(len(tensor.shape)))
    tensor.sparsity.dimMetadata = []
    for size in tensor.shape:
        metadata = schema.DimensionMetadataT()
        metadata.format, metadata.denseSize = schema.DimensionType.DENSE, size
        tensor.sparsity.dimMetadata.append(metadata)


def variable(tensor: Any) -> None:
    tensor.isVariable = True


LEFT: dict[str, Callable[[ConvModel], None]] = {
    "a code beyond the codebook": table_entry_beyond_the_codebook,
    "a negative code": edit_buffer("table0", np.int32, slice(None), -1),
    "a table in another order": edit_buffer("table0", np.int32, slice(0, 4), [1, 0, 0, 1]),
    "a codebook that is too small": small_codebook,
    "a codebook that is too large": wide_codebook,
    "a quantised codebook": tensor_change("codebook", quantized),
    "quantised codes": tensor_change("packed0", quantized),
    "a quantised table": tensor_change("table0", quantized),
    "a quantised scale": tensor_change("scale", quantized),
    "a sparse codebook": tensor_change("codebook", sparse),
    "sparse codes": tensor_change("packed0", sparse),
    "a variable codebook": tensor_change("codebook", variable),
    "too few codes": tensor_change("packed0", lambda t: setattr(t, "shape", [t.shape[0] - 1])),
    "codes of rank 2": tensor_change("packed0", lambda t: setattr(t, "shape", [1, t.shape[0]])),
    "GATHER along axis 1": option("extend", "axis", 1),
    "GATHER along axis 1, last": option("gather", "axis", 1),
    "GATHER with batch_dims": option("gather", "batchDims", 1),
    "RESHAPE with -1": new_shape([7, 3, 3, -1]),
    "RESHAPE with another product": new_shape([7, 3, 3, 6]),
    "RESHAPE with 0": new_shape([7, 3, 3, 0]),
    "RESHAPE that overflows": new_shape([65536, 65536, 65536, 65536]),
    "RESHAPE to another rank": new_shape([7, 45]),
    "MUL with an activation": option("mul", "fusedActivationFunction", ACTIVATIONS["relu"]),
    "an infinite scale": edit_buffer("scale", np.float32, 3, np.inf),
    "a scale that is no number": edit_buffer("scale", np.float32, 3, np.nan),
    "a scaled codebook that overflows": edit_buffer("codebook", np.float32, 3, 3e38),
    "a scale of another shape": tensor_change("scale", lambda t: setattr(t, "shape", [1, 1, 1, 7])),
    "tanh": conv_option("fusedActivationFunction", ACTIVATIONS["tanh"]),
    "stride 0": conv_option("strideH", 0),
    "a negative stride": conv_option("strideW", -1),
    "dilation 0": conv_option("dilationHFactor", 0),
    "a negative dilation": conv_option("dilationWFactor", -2),
    "a computed bias": computed_bias,
}


@pytest.mark.parametrize("name", LEFT)
def test_left_to_the_runtime(name: str, delegate: Any) -> None:
    model = conv_model()
    LEFT[name](model)
    check_left(model, delegate)


def swap_mul(model: ConvModel) -> None:
    mul = model.operator_of("mul")
    mul.inputs = mul.inputs[::-1]


CLAIMED: dict[str, Callable[[ConvModel], None]] = {
    "CAST options that disagree with the tensors": option("cast0", "inDataType", schema.TensorType.FLOAT32),
    "a constant longer than its shape": lambda m: set_buffer(
        m, "codebook", np.concatenate([get_buffer(m, "codebook", np.float32), np.ones(40, np.float32)])
    ),
    "MUL with its inputs the other way": swap_mul,
    "RESHAPE options that disagree with its input": option("reshape", "newShape", [1, 2, 3]),
    "depth first in no padding but the same": conv_option("padding", PADDINGS["SAME"]),
}


@pytest.mark.parametrize("name", CLAIMED)
def test_claimed_all_the_same(name: str, delegate: Any) -> None:
    model = conv_model()
    CLAIMED[name](model)
    check_claimed(model, delegate)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_codebooks_in_any_order(bits: int, delegate: Any) -> None:
    """Where a converter has merged or reordered channels, the offsets do not follow from a group size."""
    model = conv_model(bits=bits, group_size=3, scale=False)  # 7 channels, 3 codebooks
    books = get_buffer(model, "codebook", np.float32).reshape(3, 2**bits)
    order = np.array([2, 0, 0, 1, 2, 2, 1])
    set_buffer(model, "offset", (2**bits * order).astype(np.int32))
    x = np.random.default_rng(1).standard_normal(model.shape).astype(np.float32)
    stock, _ = answer(model.file.bytes(), x, [])
    regular = np.arange(7) // 3
    for channel in range(7):  # codes are what they were; only the codebook changes
        codes = [np.flatnonzero(books[regular[channel]] == w)[0] for w in model.weight[channel].reshape(-1)]
        model.weight[channel] = books[order[channel]][codes].reshape(model.weight[channel].shape)
    check_claimed(model, delegate)
    assert np.all(np.abs(stock[0] - model.expected(x)) <= model.bound(x))


@pytest.mark.parametrize("bad", [-16, 33, 48, 2**31 - 8])
def test_codebooks_that_are_not_there(bad: int, delegate: Any) -> None:
    model = conv_model(group_size=3)  # 3 codebooks of 16
    edit_buffer("offset", np.int32, 4, bad)(model)
    check_left(model, delegate)


@pytest.mark.parametrize("bias", [-1, -2])
def test_no_bias(bias: int, delegate: Any) -> None:
    """Stock convolutions refuse to run without a bias; the format allows it, and so does the delegate."""
    model = conv_model()
    bias_input(bias)(model)
    model.bias_values = np.zeros(7)
    check_claimed(model, delegate)


@pytest.mark.parametrize(
    "arguments", [{"experimental_preserve_all_tensors": True}, {"experimental_disable_delegate_node_fusion": True}]
)
def test_all_tensors_kept(arguments: dict[str, bool], delegate: Any) -> None:
    if not set(arguments) <= set(inspect.signature(litert.Interpreter).parameters):
        pytest.skip(f"this runtime has no {', '.join(arguments)}")
    lines = check_left(conv_model(), delegate, **arguments)
    assert any("nothing claimed: the runtime keeps all tensors or does not fuse nodes" in line for line in lines)


def test_clustering_disabled(delegate: Any) -> None:
    """Partitions in the order of the file: still claimed."""
    model = conv_model()
    x = np.random.default_rng(1).standard_normal(model.shape).astype(np.float32)
    ours, lines = answer(model.file.bytes(), x, [delegate], experimental_disable_delegate_clustering=True)
    assert claims(lines) == (1, 1)
    assert np.all(np.abs(ours[0] - model.expected(x)) <= model.bound(x))


def test_values_that_are_no_numbers_propagate(delegate: Any) -> None:
    """By IEEE 754. Stock kernels clamp infinities to the largest float even without an activation, so they are no oracle."""
    x = np.ones((1, 8, 8, 5), np.float32)
    for value in (np.nan, np.inf):
        model = conv_model(scale=False)
        edit_buffer("codebook", np.float32, slice(None), value)(model)
        ours, lines = answer(model.file.bytes(), x, [delegate])
        assert claims(lines) == (1, 1)
        assert np.isnan(ours[0][:, 0]).all()  # at the border, padding's 0 times infinity is NaN
        inside = ours[0][:, 1:-1, 1:-1]
        assert (np.isnan(inside) if np.isnan(value) else np.isposinf(inside)).all()


def test_input_channels_that_do_not_fit(delegate: Any) -> None:
    model = conv_model()
    model.file.graph.tensors[model.x].shape = [1, 8, 8, 4]
    model.shape = (1, 8, 8, 4)
    check_left(model, delegate)


def test_kernel_larger_than_the_input(delegate: Any) -> None:
    """SAME pads; VALID leaves nothing, or less than nothing, which stock kernels answer in their own way."""
    for size in (1, 2):
        check_claimed(conv_model(shape=(1, size, size, 5)), delegate)
    for size in (1, 2):
        model = conv_model(shape=(1, size, size, 5))
        conv_option("padding", PADDINGS["VALID"])(model)
        x = np.zeros(model.shape, np.float32)
        stock, _ = answer(model.file.bytes(), x, [])
        ours, _ = answer(model.file.bytes(), x, [delegate])
        if isinstance(stock, str):
            assert isinstance(ours, str)
        else:
            assert ours[0].shape == stock[0].shape and ours[0].size == 0
