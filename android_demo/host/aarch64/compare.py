"""Compares what run.sh has written on emulated processors with the outputs of x86-64: compare.py DUMP RESULTS CPU...

Two bounds, each per output value, against the same path on x86-64:

- float: 1e-4 of the largest output, at least 1e-4. The same sums in another order and with other fused multiply-adds: errors are near 1e-6 of
  the largest value; one wrong weight of thousands changes outputs by more than 1e-3 of it.
- int8: 3 steps. What the delegate runs is exact on every processor, and so are two processors among themselves (see below), but the first and
  the last layer of these models are plain, and TFLite's and XNNPACK's kernels for x86-64 may round in another way than those for ARM: by a step in
  each layer, which later layers pass on. (That our int8 kernels equal TFLite's reference kernels bit for bit on ARM: tests/aarch64.)

And int8 outputs of the delegate path must be the same on all emulated processors: there only our kernels differ, and they must not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FLOAT_BOUND = 1e-4
INT8_BOUND = 3


def outputs(folder: Path) -> list[tuple[str, str, str]]:
    """What run_model has written: (model, "PATH.outputI", type)."""
    found = []
    for report in sorted(folder.glob("*.txt")):
        for line in report.read_text().splitlines():
            path, output, kind = line.split()
            found.append((report.stem, f"{path}.{output}", kind))
    return found


def difference(expected: np.ndarray, received: np.ndarray) -> tuple[float, float]:
    """The largest difference, and the bound for it."""
    if expected.dtype == np.int8:
        return float(np.abs(expected.astype(int) - received.astype(int)).max()), INT8_BOUND
    return float(np.abs(expected - received).max()), FLOAT_BOUND * max(1.0, float(np.abs(expected).max()))


def read(folder: Path, model: str, name: str, kind: str) -> np.ndarray:
    values = np.fromfile(folder / f"{model}.{name}.bin", {"float32": np.float32, "int8": np.int8}[kind])
    if values.size == 0 or not np.isfinite(values.astype(np.float32)).all() or np.ptp(values.astype(np.float32)) == 0:
        raise SystemExit(f"outputs must be finite and not all the same. Received: {values} ({folder / model}.{name})")
    return values


def main() -> int:
    dump, results, cpus = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    failures = []
    print(f"{'model':18}{'path':18}{'type':9}" + "".join(f"{cpu:>14}" for cpu in cpus) + f"{'bound':>11}")
    rows = outputs(results / cpus[0])
    if not rows:
        raise SystemExit(f"there must be outputs to compare in {results / cpus[0]}. Received: none")
    for model, name, kind in rows:
        expected = read(dump, model, name, kind)
        received = [read(results / cpu, model, name, kind) for cpu in cpus]
        row, bound = "", 0.0
        for cpu, values in zip(cpus, received, strict=True):
            if values.shape != expected.shape:
                raise SystemExit(f"{model} {name} on {cpu}: {expected.size} values expected. Received: {values.size}")
            worst, bound = difference(expected, values)
            row += f"{worst:14.2g}"
            if not worst <= bound:
                failures.append(f"{model} {name} on {cpu}: off by {worst:g} (bound {bound:g})")
        same = all(np.array_equal(received[0], values) for values in received[1:])
        if kind == "int8" and name.startswith("delegate.") and not same:
            failures.append(f"{model} {name}: int8 outputs of the delegate must be the same on {', '.join(cpus)}")
        print(f"{model:18}{name:18}{kind:9}{row}{bound:11.2g}")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
