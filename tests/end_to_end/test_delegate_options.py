"""The shared library as a plugin: its symbols, its options and its messages."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import conv_model, library, make_interpreter, run, run_script
from random_graphs import captured_stderr


def create(pairs: list[tuple[bytes | None, bytes | None]] | None, count: int | None = None) -> tuple[int | None, str]:
    """The plugin's entry point called directly: (pointer or None, message)."""
    plugin = ctypes.CDLL(library())
    callback_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
    messages: list[str] = []
    callback = callback_type(lambda text: messages.append(text.decode()))
    texts = ctypes.POINTER(ctypes.c_char_p)
    plugin.tflite_plugin_create_delegate.argtypes = [texts, texts, ctypes.c_size_t, callback_type]
    plugin.tflite_plugin_create_delegate.restype = ctypes.c_void_p
    plugin.tflite_plugin_destroy_delegate.argtypes = [ctypes.c_void_p]
    keys = values = None
    if pairs is not None:
        keys = (ctypes.c_char_p * max(len(pairs), 1))(*[k for k, _ in pairs])
        values = (ctypes.c_char_p * max(len(pairs), 1))(*[v for _, v in pairs])
    pointer = plugin.tflite_plugin_create_delegate(keys, values, len(pairs or []) if count is None else count, callback)
    plugin.tflite_plugin_destroy_delegate(pointer)  # NULL is ignored
    return pointer, "".join(messages)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_threads": "-1"},
        {"num_threads": "1"},
        {"num_threads": "64"},
        {"activations": "float32"},
        {"activations": "dynamic_int8"},
        {"cache_filters": "0"},
        {"cache_filters": "true"},
        {"claim": "graph"},
        {"claim": "codebook"},
        {"isa": "auto"},
        {"isa": "portable", "log": "0", "profile": "0", "num_threads": "2"},
        {"log": "true", "profile": "false"},
    ],
)
def test_accepted(options: dict[str, str]) -> None:
    pointer, message = create([(k.encode(), v.encode()) for k, v in options.items()])
    assert pointer is not None and message == ""


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"num_threads": "0"}, "`num_threads` must be -1 (choose) or 1 to 64. Received: 'num_threads' = '0'"),
        ({"num_threads": "65"}, "`num_threads` must be"),
        ({"num_threads": "1000000"}, "`num_threads` must be"),
        ({"num_threads": "99999999999999999999"}, "`num_threads` must be"),
        ({"num_threads": "-2"}, "`num_threads` must be"),
        ({"num_threads": ""}, "`num_threads` must be"),
        ({"num_threads": " 2"}, "`num_threads` must be"),
        ({"num_threads": "2x"}, "`num_threads` must be"),
        ({"num_threads": "2.0"}, "`num_threads` must be"),
        ({"activations": "int8"}, "`activations` must be 'float32' or 'dynamic_int8'"),
        ({"activations": ""}, "`activations` must be 'float32' or 'dynamic_int8'"),
        ({"cache_filters": "yes"}, "`cache_filters` must be 0 or 1. Received: 'cache_filters' = 'yes'"),
        ({"claim": "all"}, "`claim` must be 'graph' or 'codebook'. Received: 'claim' = 'all'"),
        ({"isa": "altivec"}, "`isa` must be one that this machine and this build have: 'auto', 'portable'"),
        ({"isa": ""}, "`isa` must be"),
        ({"log": "yes"}, "`log` must be 0 or 1. Received: 'log' = 'yes'"),
        ({"profile": "2"}, "`profile` must be 0 or 1"),
        (
            {"threads": "2"},
            "the options are num_threads, activations, cache_filters, claim, isa, log and profile. Received: 'threads' = '2'",
        ),
        ({"": "2"}, "the options are"),
        ({"NUM_THREADS": "2"}, "the options are"),
        ({"x" * 5000: "y" * 5000}, "the options are"),
    ],
)
def test_refused(options: dict[str, str], rule: str) -> None:
    pointer, message = create([(k.encode(), v.encode()) for k, v in options.items()])
    assert pointer is None
    assert message.startswith(rule) and len(message) < 400
    with pytest.raises(ValueError, match=re.escape(rule)):
        litert.load_delegate(library(), options)


def test_malformed_lists() -> None:
    assert create(None)[0] is not None  # no options at all
    pointer, message = create([(b"num_threads", b"1"), (b"num_threads", b"1")])
    assert pointer is None and message == "an option can be given once. Received: 'num_threads' twice"
    pointer, message = create([(None, b"1")])
    assert pointer is None and "a NULL key" in message
    pointer, message = create([(b"log", None)])
    assert pointer is None and "a NULL value for 'log'" in message
    pointer, message = create(None, count=1)
    assert pointer is None and "must not be NULL" in message
    pointer, message = create([(b"log", b"1")], count=65)
    assert pointer is None and message == "at most 64 options can be given. Received: 65"
    pointer, message = create([(b"\xff\xfe", b"1")])  # not UTF-8: the message still is
    assert pointer is None and message.endswith("Received: '??' = '1'")


def test_no_error_callback() -> None:
    """TFLite's own C++ loader passes NULL for it."""
    plugin = ctypes.CDLL(library())
    plugin.tflite_plugin_create_delegate.restype = ctypes.c_void_p
    texts = ctypes.c_char_p * 1
    arguments = (texts(b"nonsense"), texts(b"1"), ctypes.c_size_t(1), None)
    assert plugin.tflite_plugin_create_delegate(*arguments) is None
    plugin.tflite_plugin_destroy_delegate(None)


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils' nm")
def test_symbols() -> None:
    def names(*arguments: str) -> list[str]:
        done = subprocess.run(["nm", "-D", *arguments, library()], capture_output=True, text=True, check=True)
        return [line.split()[-1] for line in done.stdout.splitlines()]

    shown = {n for n in names("--defined-only") if not n.startswith("Java_")}
    assert shown == {"tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"}
    wanted = names("--undefined-only")
    assert wanted and not [n for n in wanted if "TfLite" in n or "tflite" in n]
    # The C++ runtime is inside: nothing of it is asked of the process.
    assert not [n for n in wanted if n.startswith(("_ZNS", "_ZSt", "__cxa_throw", "__gxx"))]


def test_log_and_profile() -> None:
    model = conv_model()
    data = model.file.bytes()
    with captured_stderr() as lines:
        delegate = litert.load_delegate(library(), {"log": "1", "profile": "1", "num_threads": "1"})
        interpreter = make_interpreter(litert, data, [delegate])
        for _ in range(3):
            run(interpreter, np.ones(model.shape, np.float32))
        del interpreter, delegate
    text = "\n".join(lines)
    assert "dgms: claimed 1 of 1 convolutions and fully connected layers" in text
    row = next(line for line in lines if line.endswith(" y"))
    calls, mean, best, mmacs = (float(v) for v in row.split()[:4])
    assert calls == 3 and 0 < best <= mean
    assert mmacs == pytest.approx(8 * 8 * 3 * 3 * 5 * 7 * 1e-6, abs=5e-4)  # printed with three digits
    with captured_stderr() as quiet:
        run(make_interpreter(litert, data, [litert.load_delegate(library())]), np.ones(model.shape, np.float32))
    assert not [line for line in quiet if line.startswith("dgms")]


def test_threads_are_those_asked_for() -> None:
    """num_threads counts the caller: the process gains that many less one while the delegate lives."""
    script = """
import os, sys
from delegate_support import conv_model, library, make_interpreter, run
from ai_edge_litert import interpreter as litert
import numpy as np
count = lambda: len(os.listdir("/proc/self/task"))
data = conv_model().file.bytes()
kind = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
before = count()
for threads in (1, 2, 5):
    delegate = litert.load_delegate(library(), {"num_threads": threads})
    interpreter = make_interpreter(litert, data, [delegate], experimental_op_resolver_type=kind)
    run(interpreter, np.zeros((1, 8, 8, 5), np.float32))
    print(count() - before)
    del interpreter, delegate
    print(count() - before)
"""
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    done = run_script(script)
    assert done.stdout.split() == ["0", "0", "1", "0", "4", "0"], done.stderr


def test_cached_filters_are_counted_and_change_no_result() -> None:
    rng = np.random.default_rng(0)
    model = conv_model(shape=(1, 40, 40, 32), filters=32)
    x = rng.standard_normal(model.shape).astype(np.float32)
    packed, results = [], []
    for value in ("0", "1"):
        with captured_stderr() as lines:
            delegate = litert.load_delegate(library(), {"cache_filters": value, "log": "1"})
            interpreter = litert.Interpreter(model_content=model.file.bytes(), experimental_delegates=[delegate])
            results.append(run(interpreter, x)[0])
        packed.append(int(next(match[1] for line in lines if (match := re.search(r"packed (\d+) bytes", line)))))
    assert packed[1] - packed[0] >= 36 * 32 * 32 * 4
    np.testing.assert_array_equal(*results)
