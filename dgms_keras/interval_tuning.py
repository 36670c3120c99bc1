"""Learning intervals without the original data: only the quantisers are trained, to give a float model's outputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import keras

from dgms_keras.batches import Batches
from dgms_keras.front_ends import front_end
from dgms_keras.keras_kind import is_tf_keras


def tune_intervals(
    model: Any,
    teacher: Any,
    data: Any,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    steps: int | None = None,
    learning_rate: float = 1e-3,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Trains the intervals of a quantised model on inputs of any domain, without labels, so that its outputs are those of the float model.

    Weights, mixtures and BatchNorm statistics stay as they are; what learns are the intervals of activations
    (`activation_method="qil"`) and of weights (`weight_method="qil"`). The model computes as in inference.

    Args:
        model: a model from `quantize_apply`, calibrated; changed in place.
        teacher: the float model (or any with the same inputs and outputs).
        data, batch_size, steps: inputs, as in `calibrate_activations`; they need not be of the domain that the model is for.
        epochs: how often to go over the data.
        learning_rate: of Adam.
        progress: called after each epoch with its number and its mean loss.

    Returns:
        The mean loss of each epoch: the squared difference of the outputs, as a share of the teacher's mean square.

    Raises:
        ValueError: nothing to train, or no data. NotImplementedError: Keras computes with another backend than TensorFlow.

    Source: "heterogeneous" data, arXiv 1808.05779, Sec. 4.
    """
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"tune_intervals needs Keras's TensorFlow backend. Received: {keras.backend.backend()!r}"
        )
    front = front_end(model)
    found = [a.learned for a in front.shared_activations(model) if a.learned is not None]
    found += [w.learned for w in front.shared_weights(model) if not w.has_mixture]
    if not found:
        raise ValueError(
            "`model` must have learned intervals: activation_method='qil' with activation_bits, or weight_method='qil'. "
            f"Received: model {model.name!r} without"
        )
    optimizers = importlib.import_module("tf_keras" if is_tf_keras(model) else "keras").optimizers
    step = _step(model, teacher, found, optimizers.Adam(learning_rate))
    batches = Batches(data, batch_size, steps)
    losses = []
    for epoch in range(epochs):
        seen = [float(step(x)) for x in batches]
        losses.append(sum(seen) / len(seen))
        if progress is not None:
            progress(epoch, losses[-1])
    return losses


def _step(model: Any, teacher: Any, learned: list[Any], optimizer: Any) -> Callable[[Any], Any]:
    """One step of training on a batch of inputs; returns the loss."""
    import tensorflow as tf

    variables = [getattr(v, "value", v) if not callable(getattr(v, "value", None)) else v for v in learned]

    @tf.function(reduce_retracing=True)
    def step(x: Any) -> Any:
        wanted = [tf.cast(y, tf.float32) for y in tf.nest.flatten(teacher(x, training=False))]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            given = [tf.cast(y, tf.float32) for y in tf.nest.flatten(model(x, training=False))]
            error = tf.add_n([tf.reduce_mean(tf.square(a - b)) for a, b in zip(given, wanted, strict=True)])
            loss = error / (tf.add_n([tf.reduce_mean(tf.square(b)) for b in wanted]) + 1e-12)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients([(g, v) for g, v in zip(gradients, learned, strict=True) if g is not None])
        return loss

    return step
