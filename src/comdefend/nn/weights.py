"""The weights of a purifier as arrays, for whoever computes without torch."""

import hashlib
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from comdefend.nn.config import PurifierConfig
from comdefend.nn.layout import tensor_shapes

Array = npt.NDArray[np.float32]


class PurifierWeights(msgspec.Struct, frozen=True, eq=False):
    """A purifier as its weight file holds it.

    Attributes:
        config: The architecture.
        tensors: Name -> float32 tensor, of the names, shapes and order of
            ``comdefend.nn.layout.tensor_shapes``.
    """

    config: PurifierConfig
    tensors: Mapping[str, Array]

    def at(self, bpp: float) -> "PurifierWeights":
        """Return what computes the first maps of the code: see `ComDefend.at`.

        Raises:
            InputError: The weights were not trained for that rate.
        """
        config = self.config.at(bpp)
        shorter = {
            name: self.tensors[name][tuple(map(slice, shape))]
            for name, shape in tensor_shapes(config).items()
        }
        return PurifierWeights(config, shorter)

    @property
    def digest(self) -> str:
        """SHA-256 of all tensors with their names and shapes."""
        digest = hashlib.sha256()
        for name, tensor in self.tensors.items():
            digest.update(f"{name} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).data)
        return digest.hexdigest()
