"""The delegate inside a runtime: shapes that change, other delegates, threads, processes, and who is destroyed first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import ConvModel, conv_model, delegate_nodes, library, make_interpreter, run, run_script
from graph_files import GraphFile, schema
from random_graphs import captured_stderr, claims

WITHOUT_XNNPACK = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


@pytest.fixture(scope="module", params=["ai-edge-litert", "tensorflow"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "ai-edge-litert":
        yield litert
    else:
        yield pytest.importorskip("tensorflow.lite.python.interpreter")


def rows(model: ConvModel, batch: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, *model.shape[1:])).astype(np.float32)


def check(model: ConvModel, x: np.ndarray, y: np.ndarray) -> None:
    assert y.shape == (*x.shape[:3], model.weight.shape[0])
    assert np.all(np.abs(y - model.expected(x)) <= model.bound(x))


@pytest.mark.parametrize("xnnpack", [True, False])
def test_resizing_keeps_the_packed_weights(runtime: Any, xnnpack: bool) -> None:
    model = conv_model()
    resolver = runtime.OpResolverType.AUTO if xnnpack else runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with captured_stderr() as lines:
        delegate = runtime.load_delegate(library(), {"log": "1"})
        interpreter = make_interpreter(
            runtime, model.file.bytes(), [delegate], experimental_op_resolver_type=resolver, num_threads=1
        )
        for batch in (1, 4, 2, 0, 3, 1):
            x = rows(model, batch)
            check(model, x, run(interpreter, x)[0])
        for height, width in ((1, 1), (5, 17), (8, 8)):
            x = np.random.default_rng(4).standard_normal((2, height, width, 5)).astype(np.float32)
            check(model, x, run(interpreter, x)[0])
    # The delegate was applied, and its filter packed, exactly once.
    assert [claims([line]) for line in lines if line.startswith("dgms: claimed")] == [(1, 1)], lines


def resident_bytes_of(file: Path) -> int:
    """How much of a mapped file is in this process's memory."""
    kilobytes, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = line.endswith(str(file))
        elif ours and line.startswith("Rss:"):
            kilobytes += int(line.split()[1])
    return kilobytes * 1024


def test_packed_codes_leave_the_mapped_file(runtime: Any, tmp_path: Path) -> None:
    model = conv_model(shape=(1, 6, 6, 256), filters=512)
    codes = 512 * 9 * 256 // 2
    file = tmp_path / "model.tflite"
    file.write_bytes(model.file.bytes())
    interpreter = runtime.Interpreter(str(file), experimental_delegates=[runtime.load_delegate(library(), {})])
    assert resident_bytes_of(file) < codes // 2
    x = rows(model, 1)
    check(model, x, run(interpreter, x)[0])
    x = rows(model, 2)
    check(model, x, run(interpreter, x)[0])
    assert resident_bytes_of(file) < codes // 2


def test_shapes_that_cannot_be(runtime: Any) -> None:
    """An error that names the delegate and the shape; afterwards the interpreter still works."""
    model = conv_model()
    interpreter = make_interpreter(runtime, model.file.bytes(), [runtime.load_delegate(library())])
    index = interpreter.get_input_details()[0]["index"]
    for shape, text in (
        ((1, 8, 8, 6), r"DgmsDelegate: prepare: the input must be \[batch, height, width, 5\]"),
        ((1, 8, 5), r"Received: \[1,8,5\]"),
        ((1, 0, 8, 5), r"Received: \[1,0,8,5\]"),
    ):
        interpreter.resize_tensor_input(index, shape)
        with pytest.raises(RuntimeError, match=text):
            interpreter.allocate_tensors()
    x = rows(model, 2)
    check(model, x, run(interpreter, x)[0])


def test_an_input_that_is_too_large(runtime: Any) -> None:
    model = conv_model()
    interpreter = make_interpreter(runtime, model.file.bytes(), [runtime.load_delegate(library())])
    index = interpreter.get_input_details()[0]["index"]
    for shape in ((1, 2**30, 2**30, 5), (2**31 - 1, 8, 8, 5)):
        with pytest.raises((RuntimeError, ValueError, MemoryError)):
            interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
    x = rows(model, 1)
    check(model, x, run(interpreter, x)[0])


def two_branches(file: GraphFile, model: ConvModel) -> None:
    """z = y + y behind the convolution, which the delegate leaves to XNNPACK."""
    z = file.add(model.y, model.y, file.graph.tensors[model.y].shape)
    file.returns([model.x], [z])


def test_xnnpack_takes_the_rest(runtime: Any) -> None:
    model = conv_model()
    two_branches(model.file, model)
    for claim, all_nodes in (("codebook", 2), ("graph", 1)):
        delegate = runtime.load_delegate(library(), {"claim": claim})
        interpreter = make_interpreter(runtime, model.file.bytes(), [delegate])
        ours = delegate_nodes(interpreter)
        x = rows(model, 1)
        y = run(interpreter, x)[0]
        assert np.all(np.abs(y - 2 * model.expected(x)) <= 2 * model.bound(x))
        # Nodes of a delegate vanish from the list when the runtime takes the delegate out.
        assert ours == 1 and delegate_nodes(interpreter) == all_nodes


def test_applied_twice_and_two_of_ours(runtime: Any) -> None:
    model = conv_model()
    data, x = model.file.bytes(), rows(model, 1)
    first, second = (runtime.load_delegate(library(), {"num_threads": n}) for n in (1, 2))
    for delegates in ([first, first], [first, second]):
        check(model, x, run(make_interpreter(runtime, data, delegates), x)[0])


def test_many_interpreters_and_threads_on_one_delegate(runtime: Any) -> None:
    model = conv_model(shape=(1, 24, 24, 16), filters=32)
    data, x = model.file.bytes(), rows(model, 1)
    delegate = runtime.load_delegate(library(), {"num_threads": 3})
    wanted = run(make_interpreter(runtime, data, [delegate]), x)[0]
    check(model, x, wanted)
    failures: list[str] = []

    def work(number: int) -> None:
        for repeat in range(6):
            interpreter = make_interpreter(runtime, data, [delegate])
            for _ in range(10):
                if run(interpreter, x)[0].tobytes() != wanted.tobytes():
                    failures.append(f"thread {number}, repeat {repeat}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_shared_weights(runtime: Any) -> None:
    """One chain read by two convolutions: both are claimed. If one of them cannot be, neither is."""
    for activation, claimed in (("relu", (2, 2)), ("tanh", (0, 2))):
        model = conv_model()
        conv = model.file.graph.operators[model.operator]
        again = model.file.tensor([1, 8, 8, 7], name="again")
        other = model.file.tensor([1, 8, 8, 5], name="other")
        model.file.conv(other, conv.inputs[1], model.bias, again, activation=activation)
        model.file.returns([model.x, other], [model.y, again])
        x = [rows(model, 1, seed) for seed in (1, 2)]
        with captured_stderr() as lines:
            interpreter = make_interpreter(
                runtime,
                model.file.bytes(),
                [runtime.load_delegate(library(), {"log": "1"})],
                experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            if activation == "relu":
                for value, result in zip(x, run(interpreter, *x), strict=True):
                    check(model, value, result)
        assert claims(lines) == claimed


def test_shared_constants(runtime: Any) -> None:
    """The format's own way to use a weight twice: two chains that read the same constants."""
    model = conv_model(bits=3)
    graph = model.file.graph
    first = len(graph.operators)
    other = model.file.tensor([1, 8, 8, 5], name="other")
    again = model.file.tensor([1, 8, 8, 7], name="again")
    numbers = {}  # tensor of the first chain -> tensor of the copy
    for op in graph.operators[: first - 1]:
        source = graph.tensors[op.outputs[0]]
        dtype = np.int32 if source.type == schema.TensorType.INT32 else np.float32
        numbers[op.outputs[0]] = model.file.tensor(source.shape, dtype)
        copy = schema.OperatorT()
        copy.__dict__.update(op.__dict__)
        copy.inputs = [numbers.get(i, i) for i in op.inputs]
        copy.outputs = [numbers[op.outputs[0]]]
        graph.operators.append(copy)
    model.file.conv(other, numbers[graph.operators[model.operator].inputs[1]], model.bias, again, activation="relu")
    model.file.returns([model.x, other], [model.y, again])
    x = [rows(model, 1, seed) for seed in (1, 2)]
    with captured_stderr() as lines:
        interpreter = make_interpreter(runtime, model.file.bytes(), [runtime.load_delegate(library(), {"log": "1"})])
        for value, result in zip(x, run(interpreter, *x), strict=True):
            check(model, value, result)
    assert claims(lines) == (2, 2)


def test_a_filter_as_activations(runtime: Any) -> None:
    """A convolution over another's decoded filter: that filter must exist, so its own convolution is not claimed."""
    rng = np.random.default_rng(5)
    model = conv_model(scale=False)
    filter_tensor = model.file.graph.operators[model.operator].inputs[1]
    codes = rng.integers(0, 16, (2, 1, 1, 5)).astype(np.uint8)
    book = rng.standard_normal(16).astype(np.float32)
    weight, _ = model.file.chain(codes, book, 4, 0)
    z = model.file.tensor([7, 3, 3, 2], name="z")
    model.file.conv(filter_tensor, weight, model.file.constant(np.zeros(2, np.float32)), z)
    model.file.returns([model.x], [model.y, z])
    x = rows(model, 1)
    with captured_stderr() as lines:
        interpreter = make_interpreter(runtime, model.file.bytes(), [runtime.load_delegate(library(), {"log": "1"})])
        y, z_values = run(interpreter, x)
    assert claims(lines) == (1, 2)
    check(model, x, y)
    wanted = np.einsum("nhwc,oc->nhwo", model.weight, book[codes[:, 0, 0]].astype(np.float64))
    np.testing.assert_allclose(z_values, wanted, atol=1e-5)


def test_dynamic_tensors(runtime: Any) -> None:
    """The convolution's input gets its shape, even its number of channels, only while the graph runs."""
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 16, (4, 1, 1, 3)).astype(np.uint8)
    book = rng.standard_normal(16).astype(np.float32)
    file = GraphFile()
    flat = file.tensor([24], name="flat")
    shape = file.tensor([4], np.int32, name="shape")
    x = file.tensor([1, 1, 1, 3])
    file.op("RESHAPE", [flat, shape], [x], schema.ReshapeOptionsT())
    weight, _ = file.chain(codes, book, 4, 0)
    y = file.tensor([1, 1, 1, 4], name="y")
    file.conv(x, weight, file.constant(np.zeros(4, np.float32)), y)
    file.returns([flat, shape], [y])
    values = rng.standard_normal(24).astype(np.float32)
    with captured_stderr() as lines:
        interpreter = make_interpreter(runtime, file.bytes(), [runtime.load_delegate(library(), {"log": "1"})])
        for dims in ([2, 2, 2, 3], [1, 4, 2, 3], [8, 1, 1, 3], [1, 2, 2, 6], [2, 2, 2, 3]):
            result = run(interpreter, values, np.array(dims, np.int32))[0]
            groups = dims[3] // 3  # six channels make it a convolution of two groups
            parts = values.reshape(*dims[:3], groups, 3)
            dense = book[codes[:, 0, 0]].astype(np.float64).reshape(groups, 4 // groups, 3)
            wanted = np.einsum("nhwgc,goc->nhwgo", parts, dense).reshape(*dims[:3], 4)
            np.testing.assert_allclose(result, wanted, atol=1e-5)
        with pytest.raises(RuntimeError, match="DgmsDelegate: prepare"):
            run(interpreter, values, np.array([1, 1, 3, 8], np.int32))
        run(interpreter, values, np.array([2, 2, 2, 3], np.int32))
    assert claims(lines) == (1, 1)


LIFE = """
import ctypes, gc, os, sys
import numpy as np
from ai_edge_litert import interpreter as litert
from delegate_support import conv_model, library, make_interpreter, run
model = conv_model(shape=(1, 24, 24, 16), filters=32)
data = model.file.bytes()
x = np.random.default_rng(3).standard_normal(model.shape).astype(np.float32)
def right(y): return bool(np.all(np.abs(y - model.expected(x)) <= model.bound(x)))
def destroy(delegate):
    delegate._library.tflite_plugin_destroy_delegate.argtypes = [ctypes.c_void_p]
    delegate._library.tflite_plugin_destroy_delegate(delegate._get_native_delegate_pointer())
    delegate._library = None  # so that Python does not destroy it again
"""


@pytest.mark.parametrize("xnnpack", ["AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"])
def test_delegate_destroyed_before_the_interpreter(xnnpack: str) -> None:
    done = run_script(
        LIFE
        + f"""
resolver = litert.OpResolverType.{xnnpack}
delegate = litert.load_delegate(library(), {{"num_threads": 3}})
used = make_interpreter(litert, data, [delegate], experimental_op_resolver_type=resolver)
assert right(run(used, x)[0])
unused = make_interpreter(litert, data, [delegate], experimental_op_resolver_type=resolver)
destroy(delegate)
next_one = litert.load_delegate(library(), {{"num_threads": 2}})
assert right(run(used, x)[0])
two = np.concatenate([x, x])
assert run(used, two)[0].shape[0] == 2
assert right(run(used, x)[0])
assert right(run(unused, x)[0])
other = make_interpreter(litert, data, [next_one], experimental_op_resolver_type=resolver)
del used, unused
gc.collect()
assert right(run(other, x)[0])
print("fine")
"""
    )
    assert done.stdout.strip() == "fine" and done.returncode == 0, done.stderr


def test_fork_after_use() -> None:
    done = run_script(
        LIFE
        + """
delegate = litert.load_delegate(library(), {"num_threads": 4})
interpreter = make_interpreter(litert, data, [delegate],
    experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
wanted = run(interpreter, x)[0].tobytes()
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = all(run(interpreter, x)[0].tobytes() == wanted for _ in range(5))
        fresh = make_interpreter(litert, data, [litert.load_delegate(library(), {"num_threads": 2})],
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        same = same and run(fresh, x)[0].tobytes() == wanted
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert run(interpreter, x)[0].tobytes() == wanted
print("fine")
"""
    )
    assert done.stdout.strip() == "fine" and done.returncode == 0, done.stderr


def test_thousands_of_delegates_and_interpreters_leave_nothing_behind() -> None:
    done = run_script(
        LIFE
        + """
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
resolver = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
def cycle(count):
    for _ in range(count):
        delegate = litert.load_delegate(library(), {"num_threads": 2})
        interpreter = make_interpreter(litert, data, [delegate], experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        del interpreter, delegate
cycle(300)
before = rss()
cycle(1000)
print((rss() - before) // 1024, "KiB")
"""
    )
    assert done.returncode == 0, done.stderr
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    grown = int(done.stdout.split()[0])
    assert grown <= 1024, f"{grown} KiB in 1000 cycles"  # the product's own figure: at most 1 MiB after warm-up
