# SPDX-License-Identifier: Apache-2.0
"""Single scans as MONAI data, for training."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_microchange.data.volume import read_volume

__all__ = ["ReadScand"]


class ReadScand(MapTransform):
    """Read the scan file that each key names, with the checks of `read_volume`.

    Args:
        keys: paths of NIfTI, NRRD or MHA files; become scans (1, I, J, K), float32, affine to RAS mm.
        root: folder that relative paths start from.

    Raises:
        InputError: if a file is missing, unreadable or no 3D scan.
    """

    def __init__(self, keys: KeysCollection, *, root: str | Path = "."):
        super().__init__(keys)
        self.root = Path(root)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with scans in place of paths."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = read_volume(self.root / out[key])
        return out
