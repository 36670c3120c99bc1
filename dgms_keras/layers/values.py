"""Values of variables and tensors as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def to_numpy(x: Any) -> np.ndarray:
    """The value of a variable or tensor, as a copy in its own dtype.

    Through a tensor: NumPy 2 warns about `np.array(variable)`, which `ops.convert_to_numpy` does.
    """
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(x)))
