"""The public calls that take a model of either Keras, and the step from a model to a file.

Each call finds the front end of the model (Keras 3: `dgms_keras.layers`, tf_keras: `dgms_keras.tfmot`) and passes on; there is no
logic here. A `ClusteredModel` (from `from_clusters`) is a plain model and frozen weights already.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.front_ends import front_end
from dgms_keras.frozen import FrozenWeight, Mixture

if TYPE_CHECKING:
    from dgms_keras.clusters import ClusteredModel, ClusteredWeight
    from dgms_keras.export.exporter import ExportReport
    from dgms_keras.export.int8.options import Int8Options
    from dgms_keras.runtime.verify import VerifyReport
    from dgms_keras.weights.report import WeightSummary


def quantize_apply(
    model: Any,
    config: DGMSConfig | None = None,
    *,
    mixtures: Mapping[str, Mixture] | None = None,
    in_place: bool = False,
    representative_dataset: Any = None,
    **overrides: Any,
) -> Any:
    """A copy of a trained model whose weights are shared by Gaussian mixtures (DGMS), ready for `compile` and `fit`.

    Args:
        model: a built Keras model: Sequential, Functional, nested, with shared layers; subclassed with `in_place=True`.
        config: the choices; None for the defaults.
        mixtures: start values by layer name (as `dgms_keras.mixtures` returns them) instead of k-means: the paper's transfer
            (Table 7).
        in_place: replace the layers in `model` itself and return it: the only way for subclassed models.
        representative_dataset: inputs to calibrate activations on, where `activation_bits` asks for quantised ones; see
            `calibrate_activations`.
        **overrides: single fields of `DGMSConfig`, e.g. `bits=2`.

    Returns:
        The quantised model, not compiled. `model` is untouched (unless `in_place`).

    Raises:
        TypeError: not a Keras model, or an unknown field. ValueError: a model that cannot be copied, weights that are not
            finite, a mixture that fits no layer; with `strict=True` also a layer that cannot be quantised.
    """
    from dgms_keras.activations.calibrate import calibrate

    wanted = as_config(config).replace(**overrides)
    front = front_end(model)
    # Before anything is done: with `in_place` the model itself changes.
    no_activations = ValueError(
        "`representative_dataset` is for quantised activations: give `activation_bits`, too. Received: activation_bits=None"
    )
    if representative_dataset is not None and not wanted.may_quantize_activations():
        raise no_activations
    quantized = front.quantize_apply(model, wanted, mixtures=mixtures, in_place=in_place)
    activations = front.shared_activations(quantized)
    if representative_dataset is not None:
        if not activations:
            raise no_activations
        calibrate(quantized, activations, representative_dataset)
    elif any(not activation.is_calibrated for activation in activations):
        warnings.warn(
            "activations stay in float until they are calibrated: give `representative_dataset` here, or call "
            "dgms_keras.calibrate_activations(model, data)",
            UserWarning,
            stacklevel=2,
        )
    return quantized


def calibrate_activations(model: Any, data: Any, *, batch_size: int = 32, steps: int | None = None) -> Any:
    """Sets the start values of a model's activation quantisers (`activation_bits`) from data.

    Args:
        model: a model from `quantize_apply` with `activation_bits`; changed in place.
        data: some hundred inputs like those to come: arrays (in a list or dict for several inputs), or batches as in
            `recalibrate_batch_norm`.
        batch_size: for arrays.
        steps: batches to use; None for all.

    Returns:
        `model`.

    Raises:
        ValueError: the model has no quantised activations, or `data` is empty or gives activations that are not finite.
    """
    from dgms_keras.activations.calibrate import calibrate

    activations = front_end(model).shared_activations(model)
    if not activations:
        raise ValueError(
            "`model` must have quantised activations: quantize_apply(model, activation_bits=8, ...). "
            f"Received: model {model.name!r} without"
        )
    calibrate(model, activations, data, batch_size=batch_size, steps=steps)
    return model


def strip(model: Any, *, in_place: bool = False) -> Any:
    """The plain model with hard weights (Eq. 4) and the original layer names.

    Args:
        model: a quantised model; untouched unless `in_place`. (A `ClusteredModel` holds the plain model.)
        in_place: for subclassed models that cannot be rebuilt from their config: put the plain layers back into `model` itself.
    """
    clustered = _clustered(model)
    if clustered is not None:
        return clustered.model
    return front_end(model).strip(model, in_place=in_place)


def summary(model: Any, *, file: Any = None, print_table: bool = True) -> list[WeightSummary] | list[ClusteredWeight]:
    """Prints a table of the quantised weights and returns it as data.

    Args:
        model: a quantised model, or a `ClusteredModel`.
        file: where to print; None for standard output.
        print_table: False returns the data only.

    Returns:
        For each quantised weight, in call order: shape, bits, codes in use, share of zeros, range of gamma, squared error
        between latent and hard weights, bytes before and after. Empty for a model without quantised layers. For a
        `ClusteredModel` its `rows`.
    """
    clustered = _clustered(model)
    if clustered is not None:
        if print_table:
            print(clustered, file=file, end="")
        return list(clustered.rows)
    from dgms_keras.weights.report import summarize

    front = front_end(model)
    weights, activations = front.shared_weights(model), front.shared_activations(model)
    return summarize(model.name, weights, activations, file=file, print_table=print_table)


def mixtures(model: Any) -> dict[str, Mixture]:
    """The learned mixtures by layer name; a layer with two kernels has two entries, `name/attribute`."""
    return {w.name: w.mixture() for w in front_end(model).shared_weights(model) if w.has_mixture}


def frozen_weights(model: Any) -> list[FrozenWeight]:
    """Indices and codebook of every quantised weight."""
    clustered = _clustered(model)
    if clustered is not None:
        return list(clustered.weights)
    return [weight.freeze() for weight in front_end(model).shared_weights(model)]


def _clustered(model: Any) -> ClusteredModel | None:
    from dgms_keras.clusters import ClusteredModel

    return model if isinstance(model, ClusteredModel) else None


def recalibrate_batch_norm(
    model: Any, data: Any, *, batch_size: int = 32, steps: int | None = None, passes: int | None = None
) -> Any:
    """Re-estimates the moving mean and variance of every BatchNormalization with hard weights, over all of `data`.

    While a model trains, the statistics follow the soft weights; evaluation uses hard ones.

    Args:
        model: a built model; changed in place.
        data: inputs as arrays (in a list or dict for several inputs), or an iterable of batches (`tf.data.Dataset`, `PyDataset`,
            generator); of (inputs, targets[, weights]) tuples the inputs are used.
        batch_size: for arrays.
        steps: batches per pass; None for all.
        passes: how often to go over the data; None: until the statistics settle, at most once per BatchNormalization.

    Returns:
        `model`.

    Raises:
        ValueError: no data, or statistics that are not finite (the message names the layer); the old statistics are kept.
    """
    return front_end(model).recalibrate_batch_norm(model, data, batch_size=batch_size, steps=steps, passes=passes)


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    activations: str = "float32",
    *,
    representative_dataset: Any = None,
    inference_type: str = "float32",
    int8_options: Int8Options | None = None,
    strict: bool = False,
    verify: bool = True,
) -> ExportReport:
    """Writes a quantised model as a small `.tflite` that every TFLite runtime can run (format: FORMAT.md).

    Args:
        model: a model from `quantize_apply` or `from_clusters`. (Of a plain model, with a warning, the file is dense.)
        path: the file; written to a temporary name and renamed, so on any failure the old file stays.
        activations: "float32", or "int8": activations quantised by TensorFlow's calibration, codebooks as int8.
        representative_dataset: for "int8", inputs as the model will see them (a hundred or more): arrays in the structure of the
            model's inputs, or an iterable of batches (list, generator, `tf.data.Dataset`), or a callable that returns one.
        inference_type: for "int8", what the file's float inputs and outputs are: "float32" keeps them (a drop-in for the float
            file), "int8" makes them int8.
        int8_options: for "int8", for studies: how codebooks are rounded (`dgms_keras.export.int8.options.Int8Options`).
        strict: raise where a quantised weight cannot be compressed, instead of listing it with the reason.
        verify: run the file in the stock runtime and compare it with the Keras model before it is offered.

    Returns:
        What was written, tensor by tensor, and what was not compressed and why.

    Raises:
        ValueError: an unknown value, or calibration data that are missing, empty, of another shape or not finite.
        ExportError: the model cannot be converted, or the file's output differs from the Keras model's.
        OSError: the file cannot be written.
    """
    from dgms_keras.export.exporter import export_frozen

    frozen = frozen_weights(model)
    if not frozen:
        warnings.warn(
            f"no layer of the model {model.name!r} is quantised: the file is dense (dgms_keras.quantize_apply comes first)",
            stacklevel=2,
        )
    clustered = _clustered(model)
    if clustered is None and activations == "float32" and front_end(model).shared_activations(model):
        warnings.warn(
            "the file computes with float activations: `activation_bits` is for training and evaluation, and activations='int8' (with a "
            "`representative_dataset`) is what TFLite runs on integers",
            stacklevel=2,
        )
    return export_frozen(
        front_end(model).plain_for_export(model) if clustered is None else clustered.model,
        frozen,
        path,
        activations=activations,
        representative_dataset=representative_dataset,
        inference_type=inference_type,
        int8_options=int8_options,
        activation_ranges=_activation_ranges(model) if clustered is None and activations == "int8" else None,
        strict=strict,
        verify=verify,
    )


def _activation_ranges(model: Any) -> dict[str, tuple[float, float]]:
    """Of the frozen weights whose operators read the inputs of a layer with quantised activations: the range that it was trained at."""
    front = front_end(model)
    first: dict[str, Any] = {}
    for weight in front.shared_weights(model):
        if not weight.target.sublayer:
            first.setdefault(weight.path, weight)
    return {
        f"{activation.path}/{first[activation.path].target.public_name}": activation.value_range()
        for activation in front.shared_activations(model)
        if activation.is_calibrated and activation.path in first
    }


def verify(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    per_layer: bool = False,
    *,
    tolerance: float | None = None,
    num_threads: int | None = None,
) -> VerifyReport:
    """Runs a model with hard weights and its `.tflite`, in the stock runtime and with the delegate, and compares the outputs.

    Args:
        model: the quantised, clustered or plain model that was exported.
        path: the `.tflite`.
        x: the inputs: an array `[batch, ...]`, a list of arrays in the model's order, or a dict by input name.
        per_layer: also compare the output of every operator with a quantised weight.
        tolerance: allowed deviation, as a share of the largest magnitude of an output; None for what export allows.
        num_threads: threads of the runtime; None for its default.

    Returns:
        Per output (and layer) the largest deviations and where they are; `passed` says whether all are allowed, `str` gives a
        table.

    Raises:
        ValueError: `x` does not fit the model. ExportError: no model file, a damaged one, or one that cannot be run or has other
            outputs than the model.
    """
    from dgms_keras.runtime import verify as compare

    allowed = {} if tolerance is None else {"tolerance": tolerance}
    return compare.verify(strip(model), path, x, per_layer, num_threads=num_threads, **allowed)
