"""Runs the files of make_models.py on the emulated machine with the real LiteRT, without and with the delegate.

Usage: PYTHONPATH=tests/support run.sh check_models.py FOLDER LIBRARY ISA       ISA: the instruction set that this processor must get, `neon`, `neon_dotprod` or `neon_i8mm`
"""

from __future__ import annotations

import platform
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate
from random_graphs import captured_stderr, claims

FOLDER = Path()
LIBRARY = ""
ISA = ""

# Eight layers, each of which may round its sums by about 4 epsilon of the sum of the products' magnitudes: some 1e-6 of the largest output
# in all. A wrong weight, tap, scale or edge changes outputs by 1e-2 and more.
TOLERANCE = 2e-5


def run(path: Path, x: np.ndarray, *delegates: Any, resolver: Any = OpResolverType.AUTO) -> np.ndarray:
    interpreter = Interpreter(
        str(path), num_threads=1, experimental_delegates=list(delegates) or None, experimental_op_resolver_type=resolver
    )
    number = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(number, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(number, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def files() -> Iterator[tuple[Path, np.ndarray, np.ndarray, int]]:
    for path in sorted(FOLDER.glob("*.tflite")):
        with np.load(path.with_suffix(".npz")) as data:
            yield path, data["x"], data["y"], int(data["layers"])


class Models(unittest.TestCase):
    def assert_near(self, got: np.ndarray, want: np.ndarray, what: str) -> None:
        self.assertEqual(got.shape, want.shape, what)
        error = float(np.abs(got - want).max() / np.abs(want).max())
        self.assertLessEqual(error, TOLERANCE, f"{what}: off by {error:.2g} of the largest output")

    def test_there_are_files_of_every_bit_width(self) -> None:
        widths = {re.search(r"_w(\d)", path.name)[1] for path, *_ in files()}
        self.assertEqual(widths, {"2", "3", "4"})

    def test_this_is_arm(self) -> None:
        self.assertEqual(platform.machine(), "aarch64")

    def test_stock_kernels(self) -> None:
        for path, x, y, _ in files():
            for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
                self.assert_near(run(path, x, resolver=resolver), y, f"{path.name}, {resolver}")

    def test_delegate_claims_every_compressed_layer(self) -> None:
        for path, x, _, layers in files():
            with captured_stderr() as lines:
                run(path, x, load_delegate(LIBRARY, {"log": "1"}))
            self.assertEqual(claims(lines)[0], layers, f"{path.name}: {lines}")
            self.assertGreater(layers, 0)

    def test_delegate_equals_keras_for_any_number_of_threads(self) -> None:
        for path, x, y, _ in files():
            single = run(path, x, load_delegate(LIBRARY, {"num_threads": "1"}))
            self.assert_near(single, y, path.name)
            for threads in ("2", "3"):
                several = run(path, x, load_delegate(LIBRARY, {"num_threads": threads}))
                self.assertEqual(single.tobytes(), several.tobytes(), f"{path.name}: 1 and {threads} threads differ")

    def test_delegate_after_a_resize(self) -> None:
        for path, x, y, _ in files():
            for batch in (1, 5):
                take = np.arange(batch) % len(x)
                self.assert_near(run(path, x[take], load_delegate(LIBRARY)), y[take], f"{path.name}, batch {batch}")

    def test_delegate_node_survives(self) -> None:
        # XNNPACK comes after ours; if it failed, the runtime would take every delegate out again.
        for path, *_ in files():
            interpreter = Interpreter(str(path), num_threads=1, experimental_delegates=[load_delegate(LIBRARY)])
            ours = {op["index"] for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"}
            self.assertGreater(len(ours), 0, path.name)
            interpreter.allocate_tensors()
            after = {op["index"] for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"}
            self.assertLessEqual(ours, after, path.name)

    def test_instruction_sets(self) -> None:
        path, x, y, _ = next(files())
        for isa in ("portable", "neon", ISA):
            self.assert_near(run(path, x, load_delegate(LIBRARY, {"isa": isa})), y, isa)
        best = run(path, x, load_delegate(LIBRARY))
        self.assertEqual(best.tobytes(), run(path, x, load_delegate(LIBRARY, {"isa": ISA})).tobytes())
        ranks = ["neon", "neon_dotprod", "neon_i8mm"]
        absent = {"avx2", *ranks[ranks.index(ISA) + 1 :]}
        for isa in absent:
            with self.assertRaises(ValueError, msg=f"this processor has no {isa}"):
                load_delegate(LIBRARY, {"isa": isa})


def main() -> int:
    global FOLDER, LIBRARY, ISA
    FOLDER, LIBRARY, ISA = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(Models))
    failed = len(result.failures) + len(result.errors)
    print(
        f"{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, {len(result.skipped)} skipped",
        flush=True,
    )
    return 1 if failed or result.testsRun == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
