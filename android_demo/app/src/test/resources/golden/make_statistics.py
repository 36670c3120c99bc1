"""Writes statistics.json beside this file: what NumPy says about some series of times, for StatisticsTest.

python make_statistics.py
"""

import json
import os
from pathlib import Path

import numpy as np

PERCENTILES = (0, 1, 10, 25, 50, 75, 90, 99, 99.9, 100)


def case(name: str, values: np.ndarray) -> dict:
    """The statistics of one series, by NumPy's own definitions."""
    third = len(values) // 3
    enough = len(values) >= 9
    counts, edges = np.histogram(values, bins=8)
    return {
        "name": name,
        "values": values.tolist(),
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "min": float(np.min(values)),
        "percentiles": [[q, float(np.percentile(values, q))] for q in PERCENTILES],
        "drift": float(np.median(values[-third:]) / np.median(values[:third]) - 1) if enough else None,
        "histogram": {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()},
    }


def main() -> None:
    rng = np.random.default_rng(20)
    heating = np.linspace(1.0, 1.4, 90) + rng.normal(0, 0.02, 90)
    cases = [
        case("two", np.array([3.0, 5.0])),
        case("eight", rng.gamma(4, 0.5, 8)),
        case("nine", rng.gamma(4, 0.5, 9)),
        case("skewed, 500 runs", rng.gamma(2, 3, 500)),
        case("one outlier", np.append(rng.normal(1, 0.01, 50), 80.0)),
        case("heating up", heating),
        case("large offset", rng.normal(1e6, 1, 101)),
    ]
    target = Path(__file__).with_name("statistics.json")
    temporary = target.with_suffix(".part")
    temporary.write_text(json.dumps({"numpy": np.__version__, "cases": cases}, indent=1) + "\n")
    os.replace(temporary, target)


if __name__ == "__main__":
    main()
