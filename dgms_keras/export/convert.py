"""Keras model -> float `.tflite` bytes by TensorFlow's converter, with the model's own names, order and batch dimension."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.canonical import make_canonical
from dgms_keras.export.errors import ConversionError
from dgms_keras.export.layer_names import LayerNames
from dgms_keras.export.quiet import captured_stderr
from dgms_keras.export.signature import dtype_name, model_signature
from dgms_keras.keras_kind import is_tf_keras, keras_of

SIGNATURE_KEY = "serving_default"
# How the converter names an operator that it refuses.
_REFUSED_OP = re.compile(r"'(tf\.\w+)' op ([^\n(]{1,200})")
# Seconds that a child process may take to convert a model.
CHILD_TIMEOUT = 1800


def convert(model: Any, input_signature: Any = None) -> bytes:
    """Converts a plain Keras model to a dense float32 `.tflite` of built-in operators only.

    Args:
        model: a built Keras model; on any Keras backend (other than TensorFlow: converted in a child process).
        input_signature: see `signature.model_signature`; for subclassed models that were never called.

    Returns:
        The file's bytes. Inputs and outputs have the model's names and order, in the graph and in the signature
        `serving_default`; dimensions that are None in Keras can be resized.

    Raises:
        ConversionError: the converter refuses the model; the message names the cause.
    """
    if _backend_of(model) != "tensorflow":
        return _convert_in_child(model, input_signature)
    return _convert_here(in_float32(model), input_signature)


def _backend_of(model: Any) -> str:
    return "tensorflow" if is_tf_keras(model) else keras_of(model).backend.backend()


def in_float32(model: Any) -> Any:
    """The model itself, or, under a mixed-precision or float64 policy, a copy that computes in float32 with the same weights.

    Raises:
        ConversionError: the model cannot be rebuilt from its config.
    """
    layers = model._flatten_layers() if hasattr(model, "_flatten_layers") else []
    if not any(_is_other_float(getattr(layer, "compute_dtype", None)) for layer in layers):
        return model

    def plain(config: Any) -> Any:
        """The config with every dtype policy replaced by float32."""
        if isinstance(config, dict):
            return {k: "float32" if k == "dtype" and _is_other_float(v) else plain(v) for k, v in config.items()}
        if isinstance(config, (list, tuple)):
            return type(config)(plain(v) for v in config)
        return config

    try:
        saving = keras_of(model).saving
        copy = saving.deserialize_keras_object(plain(saving.serialize_keras_object(model)))
        copy.set_weights(model.get_weights())
    except Exception as error:
        raise ConversionError(
            "a model with a dtype policy other than float32 must be rebuilt in float32 to be exported, and that failed for "
            f"{model.name!r}: {error}"
        ) from error
    return copy


def _is_other_float(dtype: Any) -> bool:
    name = dtype.get("config", {}).get("name", "") if isinstance(dtype, dict) else str(dtype)
    return any(other in name for other in ("float16", "float64"))


def _convert_here(model: Any, input_signature: Any) -> bytes:
    import tensorflow as tf

    signature = model_signature(model, input_signature)
    output_names: list[str] = []

    # Names that sort in the model's own order: SavedModel and converter order inputs and outputs by name.
    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec(spec.shape, spec.dtype, name=f"in_{i:05d}") for i, spec in enumerate(signature.inputs)
        ],
    )
    def serve(*tensors: Any) -> dict[str, Any]:
        outputs = signature.call(tensors)
        output_names[:] = signature.output_names([path for path, _ in outputs])
        return {f"out_{i:05d}": tf.identity(value) for i, (_, value) in enumerate(outputs)}

    module = tf.Module()
    module.serve = serve
    module.state = _tf_variables(model)
    captured = None
    try:
        with captured_stderr() as captured:
            data = _run_converter(tf, module, serve.get_concrete_function())
    except Exception as error:
        raise ConversionError(_explain(model, error, captured.text if captured else "")) from error
    return _rename(data, [spec.name for spec in signature.inputs], output_names, LayerNames.of(model))


def _run_converter(tf: Any, module: Any, concrete: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dgms_export_") as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE_KEY: concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE_KEY])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter.convert()


def _tf_variables(model: Any) -> list[Any]:
    """Every TensorFlow variable of the model, so that the SavedModel owns them all; seeds of random layers included."""
    found = {}
    for layer in [model, *(model._flatten_layers() if hasattr(model, "_flatten_layers") else ())]:
        for variable in layer.variables:
            value = getattr(variable, "value", variable)
            value = variable if callable(value) else value
            found[id(value)] = value
    return list(found.values())


def _explain(model: Any, error: Exception, log: str) -> str:
    """One message for the many ways in which the converter says no: the operators it names, else its first line."""
    text = f"{error}".strip() or log.strip()
    named = dict.fromkeys(_REFUSED_OP.findall(text))
    if named:
        cause = "; ".join(f"{op} {why.strip()}" for op, why in named)
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        cause = lines[0] if lines else "no message"
    hint = ""
    if "TensorList" in text:
        hint = ". A recurrent layer needs unroll=True or a fixed batch size (keras.Input(..., batch_size=1))"
    return (
        f"TensorFlow's converter cannot convert the model {model.name!r} to TFLite built-in operators: "
        f"{type(error).__name__}: {cause[:1500]}{hint}"
    )


def _rename(data: bytes, input_names: Sequence[str], output_names: Sequence[str], layer_names: LayerNames) -> bytes:
    """Gives inputs and outputs their names and order, in the graph and in its signature, and the other tensors those of the layers
    they belong to, in the order of their use."""
    model = fio.read_model(data)
    make_canonical(model)
    graph = model.subgraphs[0]
    (signature,) = (s for s in model.signatureDefs if s.signatureKey == SIGNATURE_KEY)
    names: dict[int, str] = {}  # tensor -> its new name; a tensor that is both input and output keeps the input's
    for side, wanted in (("inputs", input_names), ("outputs", output_names)):
        entries = sorted(getattr(signature, side), key=lambda entry: entry.name)
        if len(entries) != len(wanted):
            raise ConversionError(f"the converter kept {len(entries)} of the {len(wanted)} {side} of the model")
        for entry, name in zip(entries, wanted, strict=True):
            entry.name = name
            names.setdefault(entry.tensorIndex, name)
        setattr(signature, side, entries)
        setattr(graph, side, [entry.tensorIndex for entry in entries])
    taken = set(names.values())
    for number, tensor in enumerate(graph.tensors):
        if number in names:
            tensor.name = names[number]
            continue
        name = candidate = layer_names.of_tensor(tensor.name or "")
        again = 0
        while candidate in taken:  # a ":" is in no layer's name
            again += 1
            candidate = f"{name}:{again}"
        taken.add(candidate)
        tensor.name = candidate
    return fio.write_model(model)


def _convert_in_child(model: Any, input_signature: Any = None) -> bytes:
    """Saves the model, and converts it in a process whose Keras backend is TensorFlow."""
    import keras

    what = f"the model {model.name!r} of the Keras backend {keras.backend.backend()!r}"
    with tempfile.TemporaryDirectory(prefix="dgms_export_") as folder:
        job = {
            "model": os.path.join(folder, "model.keras"),
            "output": os.path.join(folder, "model.tflite"),
            "error": os.path.join(folder, "error.txt"),
            "modules": sorted({type(layer).__module__ for layer in [model, *model._flatten_layers()]}),
            "input_signature": _to_json(input_signature),
        }
        try:
            with captured_stderr():
                model.save(job["model"])
        except Exception as error:
            raise ConversionError(f"{what} must be saved to be converted, and that failed: {error}") from error
        with open(os.path.join(folder, "job.json"), "w") as file:
            json.dump(job, file)
        environment = {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command = [sys.executable, "-m", "dgms_keras.export.convert_child", file.name]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConversionError(f"{what} could not be converted in a child process: {error}") from error
        if done.returncode == 0 and os.path.exists(job["output"]):
            with open(job["output"], "rb") as converted:
                return converted.read()
        cause = done.stderr.strip()[-500:] or f"exit status {done.returncode}"
        if os.path.exists(job["error"]):
            with open(job["error"]) as text:
                cause = text.read().strip()
    raise ConversionError(
        f"{what} is converted in a child process with KERAS_BACKEND=tensorflow, which failed: {cause}\n"
        "Keep custom layers in an importable module (not __main__), registered by "
        "keras.saving.register_keras_serializable, or export in a session with KERAS_BACKEND=tensorflow."
    )


def _to_json(structure: Any) -> Any:
    if structure is None:
        return None
    if isinstance(structure, Mapping):
        return {"dict": {k: _to_json(v) for k, v in structure.items()}}
    if isinstance(structure, (list, tuple)):
        return {"list": [_to_json(v) for v in structure]}
    return {"shape": [None if d is None else int(d) for d in structure.shape], "dtype": dtype_name(structure.dtype)}
