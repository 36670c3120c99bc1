"""The C++ benches' lists of layers (delegate/bench/networks.h) against the Keras builders, layer by layer."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from dgms_keras.recipes.models import NETWORKS
from dgms_keras.recipes.models.cost import layer_costs

DELEGATE = Path(__file__).resolve().parents[2] / "delegate"

# Prints a line for each layer: network, kind, in_size, out_size, in_channels, out_channels, kernel, stride, multiply-adds, count.
PROGRAM = r"""
#include <cstdio>
#include "bench/networks.h"
int main() {
  for (const auto& network : dgms::bench::Networks()) {
    for (const auto& l : network.layers) {
      std::printf("%s %s %d %d %d %d %d %d %lld %d\n", network.name.c_str(), dgms::bench::KindName(l.kind), l.in_size, l.OutSize(),
                  l.in_channels, l.out_channels, l.kernel, l.stride, static_cast<long long>(l.Macs()), l.count);
    }
  }
}
"""


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """Network -> its layers, counted."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("a C++ compiler (g++, or $CXX) is missing")
    folder = tmp_path_factory.mktemp("networks")
    (folder / "print.cc").write_text(PROGRAM)
    program = folder / "print"
    subprocess.run([compiler, "-std=c++17", f"-I{DELEGATE}", "-o", program, folder / "print.cc"], check=True)
    found: dict[str, Counter] = {}
    for line in subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines():
        network, kind, *numbers, count = line.split()
        found.setdefault(network, Counter())[(kind, *map(int, numbers))] += int(count)
    return found


def test_the_benches_know_every_network(layers):
    assert list(layers) == list(NETWORKS)


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_are_those_of_the_keras_model(layers, network):
    expected = Counter(
        (c.kind, c.in_size, c.out_size, c.in_channels, c.out_channels, c.kernel, c.stride, c.macs)
        for c in layer_costs(NETWORKS[network]())
    )
    assert layers[network] == expected
