"""Parameters and multiply-adds of the builders against the published ones.

Exact counts are those that the reference implementations print; papers state theirs rounded, and so these tests round:

    ResNet-18, ResNet-50    torchvision's documentation: 11,689,512 and 25,557,032 parameters, 1.814 and 4.089 G multiply-adds
    MobileNetV2 1.0         torchvision's documentation: 3,504,872 parameters (the paper says 3.4 M: Sandler et al.,
                            arXiv 1801.04381, Table 4); 300 M multiply-adds there
    MnasNet-A1              Tan et al., arXiv 1807.11626, Table 1: 3.9 M, 312 M; osmr/imgclsmob's table: 3,887,038
    ProxylessNAS-Mobile     osmr/imgclsmob's table: 4,080,512; Cai et al., arXiv 1908.09791, Table 3: 320 M
    SSDLite-MobileNetV2     Sandler et al., Table 6, 320x320: 4.3 M, 0.8 G
"""

import pytest

from dgms_keras.recipes.models import NETWORKS
from dgms_keras.recipes.models.cost import layer_costs, macs, parameters

# Parameters and multiply-adds, and the unit that the source gives them in.
PUBLISHED = {
    "resnet18": (11_689_512, 1, 1.814e9, 1e6),
    "resnet50": (25_557_032, 1, 4.089e9, 1e6),
    "mobilenet_v2": (3_504_872, 1, 300e6, 10e6),
    "mnasnet_a1": (3_887_038, 1, 312e6, 1e6),
    "proxylessnas_mobile": (4_080_512, 1, 320e6, 10e6),
    "ssdlite_mobilenet_v2": (4.3e6, 1e5, 0.8e9, 1e8),
}


def test_every_network_has_published_figures():
    assert set(PUBLISHED) == set(NETWORKS)


@pytest.mark.parametrize("network", NETWORKS)
def test_counts_are_the_published_ones(network):
    expected_parameters, parameter_unit, expected_macs, mac_unit = PUBLISHED[network]
    model = NETWORKS[network]()
    assert model.name == network
    assert round(parameters(model) / parameter_unit) == round(expected_parameters / parameter_unit)
    assert round(macs(model) / mac_unit) == round(expected_macs / mac_unit)


def test_counts_of_layers_add_up_and_stay_apart_from_padding():
    """Every kind of layer against the sum that a reader does by hand."""
    model = NETWORKS["resnet18"](side=64)
    costs = {c.name: c for c in layer_costs(model)}
    assert len(costs) == 21  # 20 convolutions and a classifier
    stem = costs["stem_conv"]
    assert (stem.in_size, stem.out_size, stem.in_channels, stem.out_channels, stem.kernel) == (64, 32, 3, 64, 7)
    assert stem.macs == 32 * 32 * 64 * 3 * 49
    assert costs["logits"].macs == 512 * 1000
    depthwise = {c.name: c for c in layer_costs(NETWORKS["mobilenet_v2"](side=64))}["block2_depthwise_conv"]
    assert (depthwise.kind, depthwise.in_size, depthwise.out_size, depthwise.stride) == ("depthwise", 32, 16, 2)
    assert depthwise.macs == 16 * 16 * 96 * 9


def test_counts_refuse_what_they_do_not_count():
    import keras

    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Conv2D(4, 3, name="oblong")])
    with pytest.raises(ValueError, match=r"must be square.*8x6.*'oblong'"):
        layer_costs(model)


def test_detector_has_its_heads():
    """2034 anchors at 320: 3 on 20x20, 6 on 10x10, 5x5, 3x3, 2x2 and 1x1."""
    model = NETWORKS["ssdlite_mobilenet_v2"]()
    assert dict(zip(model.output_names, model.output_shape, strict=True)) == {
        "boxes": (1, 2034, 4),
        "scores": (1, 2034, 81),
    }


def test_two_builds_are_equal():
    import numpy as np

    first, second = (NETWORKS["mnasnet_a1"](side=32) for _ in range(2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
