"""What quantised activations cost while training: `python -m dgms_keras.recipes.activation_accuracy [--output FILE.json]`, some ten
minutes on two cores.

The paper's combinations of weight and activation bits on procedural shapes (shapes.py), and for 4-bit activations learned intervals
(QIL) against fixed ranges from calibration (extremes; least squared error), with the same training. Accuracies are those of the Keras
model with hard weights and quantised activations, on the same test images: before training (calibration only) and after. Several
seeds give means and deviations.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras.recipes.shapes import load_shapes
from dgms_keras.recipes.small_network import small_network, top1, train

# (weight bits, activation bits, activation method)
COMBINATIONS: tuple[tuple[int, int | None, str], ...] = (
    (4, None, "-"),
    (3, None, "-"),
    (2, None, "-"),
    (4, 8, "minmax"),
    (4, 8, "qil"),
    (4, 4, "minmax"),
    (4, 4, "mse"),
    (4, 4, "qil"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much data and training; `keras` is the front end, "keras" or "tf_keras"."""

    train_images: int = 16000
    test_images: int = 4000
    calibration_images: int = 200
    float_epochs: int = 5
    epochs: int = 2
    batch_size: int = 64
    seeds: tuple[int, ...] = (0,)
    keras: str = "keras"
    only: tuple[str, ...] = ()  # such as "W4A4"; empty for all combinations

    @property
    def combinations(self) -> list[tuple[int, int | None, str]]:
        """Those of `COMBINATIONS` that `only` names."""
        return [c for c in COMBINATIONS if not self.only or f"W{c[0]}A{c[1] or 32}" in self.only]


def run_study(settings: Settings | None = None, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains and measures.

    Returns:
        JSON types: the settings, and for each seed and combination the accuracies in percent.
    """
    settings = settings or Settings()
    rows = [row for seed in settings.seeds for row in _one_seed(settings, seed, say)]
    for bits, activation_bits, method in settings.combinations:
        found = [
            r["top1"] for r in rows if (r["bits"], r["activation_bits"], r["method"]) == (bits, activation_bits, method)
        ]
        say(
            f"W{bits}A{activation_bits or 32:<3}{method:7} {np.mean(found):.2f} % (sd {np.std(found):.2f}, {len(found)} seeds)"
        )
    return {"settings": dataclasses.asdict(settings), "rows": rows}


def _one_seed(settings: Settings, seed: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    import dgms_keras

    kr = importlib.import_module(settings.keras)
    kr.utils.set_random_seed(seed)
    data = load_shapes(settings.train_images, settings.test_images, seed)
    model = small_network(kr)
    train(kr, model, data, settings.float_epochs, 3e-3, settings.batch_size, say)
    float_top1 = top1(model, data)
    say(f"seed {seed}, float: {float_top1:.2f} %")
    rows = []
    for bits, activation_bits, method in settings.combinations:
        kr.utils.set_random_seed(seed)
        options: dict[str, Any] = {"bits": bits}
        if activation_bits is not None:
            options |= {"activation_bits": activation_bits, "activation_method": method}
            options["representative_dataset"] = data.x_train[: settings.calibration_images]
        quantised = dgms_keras.quantize_apply(model, **options)
        before = top1(quantised, data)
        train(kr, quantised, data, settings.epochs, 1e-3, settings.batch_size, say)
        row = {
            "seed": seed,
            "bits": bits,
            "activation_bits": activation_bits,
            "method": method,
            "float_top1": float_top1,
            "untrained_top1": before,
            "top1": top1(quantised, data),
        }
        rows.append(row)
        say(f"  W{bits}A{activation_bits or 32} {method}: {before:.2f} % before, {row['top1']:.2f} % after training")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dgms_keras.recipes.activation_accuracy", description=__doc__)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write the figures as JSON")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--keras", choices=("keras", "tf_keras"), default="keras", help="the front end")
    parser.add_argument("--only", nargs="*", default=(), metavar="W4A4", help="these combinations only")
    arguments = parser.parse_args(argv)
    settings = Settings(seeds=tuple(range(arguments.seeds)), keras=arguments.keras, only=tuple(arguments.only))
    result = run_study(settings, lambda text: print(text, flush=True))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
