"""Takes parameters out of a checkpoint by name and says which are missing, misshapen or left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import CheckpointRefused

Float64 = NDArray[np.float64]

_EPSILON = 1e-5


class Parameters:
    """The parameters of one network; every one must be taken exactly once.

    Args:
        arrays: As read from a checkpoint.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._left = dict(arrays)

    def take(self, name: str, *shape: int) -> Float64:
        """Give one parameter as float64.

        Raises:
            CheckpointRefused: It is missing, was taken before, or has another shape.
        """
        if name not in self._left:
            raise CheckpointRefused(f"the parameter {name} is missing")
        array = self._left.pop(name)
        if array.shape != shape:
            raise CheckpointRefused(
                f"the parameter {name} has shape {array.shape}, the network needs {shape}"
            )
        return array.astype(np.float64)

    def batch_norm(self, name: str, channels: int, *, affine: bool = True) -> tuple[Float64, ...]:
        """Give the scale and the offset, float64[channels] each, that an inference BN applies."""
        scale = self.take(f"{name}.weight", channels) if affine else np.ones(channels)
        offset = self.take(f"{name}.bias", channels) if affine else np.zeros(channels)
        mean = self.take(f"{name}.running_mean", channels)
        variance = self.take(f"{name}.running_var", channels)
        self._left.pop(f"{name}.num_batches_tracked", None)
        scale = scale / np.sqrt(variance + _EPSILON)
        return scale, offset - mean * scale

    def finish(self) -> None:
        """Check that nothing is left over.

        Raises:
            CheckpointRefused: Parameters remain that the network does not know.
        """
        if self._left:
            names = ", ".join(sorted(self._left)[:3])
            raise CheckpointRefused(
                f"{len(self._left)} parameter(s) are unknown to the network, first {names}"
            )
