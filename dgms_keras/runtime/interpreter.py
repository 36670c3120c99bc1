"""`Interpreter`: the runtime's own interpreter with our delegate in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

from dgms_keras.litert import RuntimeInterpreter
from dgms_keras.runtime.delegate import load_delegate

# How the runtime's Python interface names the node of any delegate, ours and XNNPACK's.
_DELEGATE_OP = "DELEGATE"


class Interpreter(RuntimeInterpreter):
    """A TFLite interpreter (same methods as the runtime's own) that runs index + codebook layers in our delegate.

    What the delegate does not claim runs as it always does: in XNNPACK or in TFLite's builtin kernels.

    Args:
        model_path: a `.tflite` file. Or give `model_content`.
        num_threads: threads for the delegate and for the runtime, >= 1; None leaves both at their defaults.
        delegate: whether to load the delegate.
        delegate_options: further options for `load_delegate`.
        model_content: the bytes of a `.tflite` file.
        **options: anything else that the runtime's interpreter takes. `experimental_delegates` are applied behind ours, to
            what it has not claimed.

    Raises:
        ValueError: an option has a value it cannot have, or the file is no TFLite model.
        FileNotFoundError: there is no such file, or the delegate was not built.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        num_threads: int | None = None,
        delegate: bool = True,
        delegate_options: Mapping[str, Any] | None = None,
        model_content: bytes | None = None,
        **options: Any,
    ) -> None:
        if (model_path is None) == (model_content is None):
            raise ValueError(
                "give exactly one of `model_path` and `model_content`. Received: "
                + ("neither" if model_path is None else "both")
            )
        if num_threads is not None and (
            isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1
        ):
            raise ValueError(f"`num_threads` must be an integer >= 1 or None. Received: num_threads={num_threads!r}")
        if not isinstance(delegate, bool):
            raise TypeError(f"`delegate` must be True or False. Received: delegate={delegate!r}")
        if delegate_options and not delegate:
            raise ValueError(f"`delegate_options` need delegate=True. Received: {dict(delegate_options)}")
        if model_path is not None:
            model_path = os.fspath(model_path)
            if not os.path.isfile(model_path):
                raise FileNotFoundError(f"`model_path` must be a .tflite file. Received: {model_path!r}")
        others = list(options.pop("experimental_delegates", None) or [])
        settings = {"num_threads": num_threads, **(delegate_options or {})}
        delegates = [load_delegate(**settings)] if delegate else None
        try:
            super().__init__(
                model_path=model_path,
                model_content=model_content,
                num_threads=num_threads,
                experimental_delegates=delegates,
                **options,
            )
        except ValueError as error:  # its message does not name the file
            if model_path is None:
                raise
            raise ValueError(
                f"the runtime must be able to load the model ({error}). Received: {model_path!r}"
            ) from None
        # Nodes of all delegates have the same name. The runtime's constructor has applied ours alone, so what is there now
        # is ours; the caller's follow, as that constructor would have applied them, and XNNPACK in allocate_tensors.
        self._delegated = self._delegate_indices() if delegate else frozenset()
        for other in others:
            self._delegates.append(other)  # they must live as long as the runtime's interpreter
            self._interpreter.ModifyGraphWithDelegate(other._get_native_delegate_pointer())

    def _delegate_indices(self) -> frozenset[int]:
        # By the runtime's own module: `_get_ops_details` describes every tensor as well, 4 ms of a MobileNetV2's start. Delegates
        # append their nodes to the graph's, so those of the graph itself, which are many, need not be looked at.
        nodes = self._interpreter
        appended = itertools.takewhile(lambda i: nodes.NodeName(i) == _DELEGATE_OP, reversed(range(nodes.NumNodes())))
        return frozenset(appended)

    def delegated_nodes(self) -> int:
        """How many nodes of the delegate are in the graph: 0 when it claimed nothing (or was not loaded).

        A node may hold several layers that follow one another. Those of other delegates, XNNPACK's and the caller's own
        `experimental_delegates` among them, do not count.
        """
        return len(self._delegated & self._delegate_indices())  # the runtime removes all delegates if XNNPACK fails
