"""Names of tensors by layers: scopes as the converter writes them for Keras 3 (numbered) and tf_keras (plain)."""

import pytest

from dgms_keras.export.layer_names import LayerNames

TREE = {"conv_1": {}, "conv": {}, "add": {}, "back": {"conv": {}, "bn": {}}, "dense_2": {}}


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ("net/conv/Conv2D", "conv"),
        ("net_1/conv_1/convolution", "conv"),  # all scopes of the call have got a number
        ("net_1/conv_1_1/convolution", "conv_1"),
        ("net/conv_1/Conv2D", "conv_1"),
        ("net_2/dense_2_2/MatMul", "dense_2"),
        ("net/back/conv/Conv2D;net/back/bn/FusedBatchNormV3", "back/bn;back/conv"),
        ("net_1/back_1/bn_1/add_1;net_1/back_1/conv_1/convolution", "back/bn;back/conv"),
        ("net/conv/add", "conv"),  # an operator called like a layer, inside another layer
        ("net/add/add", "add"),
        ("conv/Conv2D", "conv"),
        ("arith.constant", "arith.constant"),
        ("net/Mean_3", "Mean"),
        ("", ""),
    ],
)
def test_names(tensor, expected):
    assert LayerNames("net", TREE).of_tensor(tensor) == expected


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_the_tree_of_a_model(name):
    kr = pytest.importorskip(name)
    inner = kr.Sequential([kr.Input((4,)), kr.layers.Dense(3, name="d")], name="inner")
    inputs = kr.Input((4,), name="x")
    model = kr.Model(inputs, kr.layers.Dense(2, name="out")(inner(inputs)), name="outer")
    names = LayerNames.of(model)
    assert names.model == "outer" and names.layers["out"] == {} and "d" in names.layers["inner"]
