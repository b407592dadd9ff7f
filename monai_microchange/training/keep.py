# SPDX-License-Identifier: Apache-2.0
"""Prepared items, kept in memory or on disk: anatomy and alignment take long, and come out the same each time."""

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Compose

from monai_microchange import __version__
from monai_microchange.training.inputs import hash_inputs

__all__ = ["hash_transforms", "kept_items"]


def kept_items(
    items: Sequence[Mapping[str, Any]], prepare: Compose, *, root: str | Path = ".", cache_dir: str | Path | None = None
) -> Dataset:
    """Items, each prepared once.

    Args:
        items: data dictionaries.
        prepare: deterministic transform.
        root: folder that the items' paths start from.
        cache_dir: folder that keeps them for the next run, by the contents of their files and by what `prepare` does;
            it may grow, may be emptied at any time, and must be where code changed within a version. None keeps them in
            memory.
    """
    if cache_dir is None:
        return CacheDataset([dict(item) for item in items], prepare, progress=False)
    keyed = [{**item, "inputs": sorted(hash_inputs([item], root).values())} for item in items]
    return PersistentDataset(keyed, prepare, cache_dir, hash_func=pickle_hashing, hash_transform=hash_transforms)


def hash_transforms(transforms: Sequence[Any]) -> bytes:
    """What transforms of this version do, as a hash that is the same in every process; of networks their weights count.

    (Networks pickle differently each time.)

    Example:
        >>> from monai.transforms import Flip
        >>> hash_transforms([Flip(0)]) == hash_transforms([Flip(0)]), hash_transforms([Flip(0)]) == hash_transforms([])
        (True, False)
    """
    buffer = io.BytesIO()
    _StablePickler(buffer).dump([__version__, *transforms])
    return hashlib.sha256(buffer.getvalue()).hexdigest().encode()


class _StablePickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Put a network's structure and weights in its place."""
        if not isinstance(obj, torch.nn.Module):
            return NotImplemented
        digest = hashlib.sha256(repr(obj).encode())
        for name, value in obj.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().numpy().tobytes())
        return str, (digest.hexdigest(),)
