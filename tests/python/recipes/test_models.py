"""Parameter counts of the builders against the published ones (torchvision's documentation of resnet18 and resnet50)."""

import math

import pytest

from dgms_keras.recipes.models import resnet18, resnet50


@pytest.mark.parametrize(("build", "parameters"), [(resnet18, 11_689_512), (resnet50, 25_557_032)])
def test_parameters_match_the_published_network(build, parameters):
    model = build(side=32)
    assert sum(math.prod(v.shape) for v in model.trainable_variables) == parameters
    assert model.output_shape == (None, 1000)
