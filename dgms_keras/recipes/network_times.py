"""Time of whole networks: our delegate on index + codebook files against XNNPACK on the same networks in float.

    python -m dgms_keras.recipes.network_times --networks resnet18 resnet50 --bits 4 --threads 1 2

Weights are random (a time does not depend on their values) and shared by k-means alone. Each pair of files runs interleaved in
one process; what counts is the ratio of medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def _mobilenet_v2() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2(weights=None, classifier_activation=None)


def _resnet18() -> Any:
    from dgms_keras.recipes.models import resnet18

    return resnet18()


def _resnet50() -> Any:
    from dgms_keras.recipes.models import resnet50

    return resnet50()


NETWORKS: dict[str, Callable[[], Any]] = {
    "resnet18": _resnet18,
    "resnet50": _resnet50,
    "mobilenet_v2": _mobilenet_v2,
}


@dataclasses.dataclass(frozen=True)
class NetworkTime:
    """One network at one bit width and thread count; medians in milliseconds."""

    network: str
    bits: int
    threads: int
    file_bytes: int
    dense_bytes: int
    delegate_ms: float
    xnnpack_ms: float
    max_abs_difference: float  # delegate against TFLite's builtin kernels, same file

    @property
    def ratio(self) -> float:
        """Our time over XNNPACK's: below 1, ours is faster."""
        return self.delegate_ms / self.xnnpack_ms


def make_files(network: str, bits: Sequence[int], folder: Path) -> dict[str, Path]:
    """Writes `{network}_float.tflite` and `{network}_w{bits}.tflite`, every layer quantised; existing files are kept."""
    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    files = {"float": folder / f"{network}_float.tflite"}
    files.update({f"w{b}": folder / f"{network}_w{b}.tflite" for b in bits})
    if all(f.exists() for f in files.values()):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    model = NETWORKS[network]()
    export_frozen(model, [], files["float"])  # dense
    for b in bits:
        quantised = dgms_keras.quantize_apply(model, bits=b, skip_first_last=False)
        dgms_keras.export_tflite(quantised, files[f"w{b}"])
    return files


def measure(network: str, bits: int, threads: int, runs: int, folder: Path) -> NetworkTime:
    """Times one network; see the module's text for how."""
    import dgms_keras

    files = make_files(network, [bits], folder)
    # One input: TFLite's own kernels, with which outputs are compared, take seconds for each.
    report = dgms_keras.benchmark(
        files[f"w{bits}"],
        dense=files["float"],
        paths=("delegate",),
        num_threads=threads,
        runs=runs,
        agreement_inputs=1,
    )
    return NetworkTime(
        network=network,
        bits=bits,
        threads=threads,
        file_bytes=files[f"w{bits}"].stat().st_size,
        dense_bytes=files["float"].stat().st_size,
        delegate_ms=report["delegate"].median_ms,
        xnnpack_ms=report["dense:xnnpack"].median_ms,
        max_abs_difference=report["delegate"].max_abs_difference,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Time whole networks: delegate against XNNPACK in float.")
    parser.add_argument("--networks", nargs="+", choices=sorted(NETWORKS), default=["resnet18", "resnet50"])
    parser.add_argument("--bits", nargs="+", type=int, choices=(2, 3, 4), default=[4])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path("build/networks"), help="where the files are kept")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    rows = []
    for network in arguments.networks:
        make_files(network, arguments.bits, arguments.folder)
        for bits in arguments.bits:
            for threads in arguments.threads:
                row = measure(network, bits, threads, arguments.runs, arguments.folder)
                rows.append(row)
                print(
                    f"{row.network:<13} W{row.bits}A32  {row.threads} thread(s)  {row.file_bytes:>10,} of "
                    f"{row.dense_bytes:,} bytes  delegate {row.delegate_ms:7.2f} ms  XNNPACK {row.xnnpack_ms:7.2f} ms  "
                    f"ratio {row.ratio:.2f}  difference {row.max_abs_difference:.1e}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(
            json.dumps([{**dataclasses.asdict(r), "ratio": r.ratio} for r in rows], indent=2) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
