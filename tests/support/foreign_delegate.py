"""A TFLite delegate that is not ours, in Python: for tests of what happens beside another one.

The structs' layouts are those of delegate/tflite/tflite_abi.h, on 64-bit machines.
"""

from __future__ import annotations

import ctypes
from typing import Any

OK, ERROR = 0, 1
POINTER = ctypes.c_void_p
ON_NODE = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER)
PREPARE = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER)


class Registration(ctypes.Structure):
    _fields_ = (
        ("init", POINTER),
        ("free", POINTER),
        ("prepare", ON_NODE),
        ("invoke", ON_NODE),
        ("profiling_string", POINTER),
        ("builtin_code", ctypes.c_int32),
        ("custom_name", ctypes.c_char_p),
        ("version", ctypes.c_int),
        ("registration_external", POINTER),
        ("async_kernel", POINTER),
        ("inplace_operator", ctypes.c_uint64),
    )


class Delegate(ctypes.Structure):
    _fields_ = (
        ("data", POINTER),
        ("Prepare", PREPARE),
        ("CopyFromBufferHandle", POINTER),
        ("CopyToBufferHandle", POINTER),
        ("FreeBufferHandle", POINTER),
        ("flags", ctypes.c_int64),
        ("opaque_delegate_builder", POINTER),
    )


PLAN = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, ctypes.POINTER(ctypes.POINTER(ctypes.c_int)))
REPLACE = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, Registration, POINTER, POINTER)
PLAN_FIELD, REPLACE_FIELD = 1, 8  # of the context, in pointers
ALLOW_DYNAMIC_TENSORS = 1


class LastNode:
    """Claims the last node of each graph, and computes nothing in its place. For `experimental_delegates`."""

    def __init__(self) -> None:
        self.claimed = self.invoked = 0
        self._registration = Registration(prepare=ON_NODE(lambda context, node: OK), invoke=ON_NODE(self._invoke))
        self._delegate = Delegate(Prepare=PREPARE(self._prepare), flags=ALLOW_DYNAMIC_TENSORS)

    def _get_native_delegate_pointer(self) -> int:
        return ctypes.addressof(self._delegate)

    def _prepare(self, context: int, delegate: int) -> int:
        fields = ctypes.cast(context, ctypes.POINTER(POINTER))
        plan = ctypes.POINTER(ctypes.c_int)()
        if self._function(PLAN, fields[PLAN_FIELD])(context, ctypes.byref(plan)) != OK:
            return ERROR
        nodes = (ctypes.c_int * 2)(1, plan[plan[0]])  # a counted list: the plan's last number
        self.claimed += 1
        return int(self._function(REPLACE, fields[REPLACE_FIELD])(context, self._registration, nodes, delegate))

    @staticmethod
    def _function(kind: Any, address: int | None) -> Any:
        return kind(address)

    def _invoke(self, context: int, node: int) -> int:
        self.invoked += 1
        return OK
