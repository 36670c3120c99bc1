"""What a quantised model holds: mixtures, frozen weights, and a table of them."""

from __future__ import annotations

import keras

from dgms_keras.frozen import FrozenWeight, Mixture
from dgms_keras.layers.structure import places
from dgms_keras.layers.wrapper import DGMSWrapper


def wrappers(model: keras.Model) -> list[tuple[str, DGMSWrapper]]:
    """(path, layer) of the quantised layers, in call order."""
    return [(p.path, p.layer) for p in places(model) if isinstance(p.layer, DGMSWrapper)]


def mixtures(model: keras.Model) -> dict[str, Mixture]:
    """The mixtures by layer name, behind the names of the models around it ("backbone/conv1"); a layer with several quantised
    weights has an entry for each ("conv/depthwise_kernel")."""
    return {w.path_of(t, path): w.mixture_for(t) for path, w in wrappers(model) for t in w.targets}


def frozen_weights(model: keras.Model) -> list[FrozenWeight]:
    """Indices and codebook of every quantised weight, in call order."""
    return [w.freeze(t, path) for path, w in wrappers(model) for t in w.targets]
