# SPDX-License-Identifier: Apache-2.0
"""Sliding window over the part of a pair that there is something in."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer

__all__ = ["PairSlidingWindow"]

NO_CHANGE_LOGIT = -20.0
"""Logit of gain and loss where nothing was looked at."""


class PairSlidingWindow(SlidingWindowInferer):
    """MONAI's sliding window, kept to the box that holds the region of interest.

    Harmonised scans are zero outside the region, so its box can be read off the input; outside it the logits say none.

    Args:
        roi_size: window in voxels.
        overlap: share that neighbouring windows share.
        sw_batch_size: windows per pass.

    Example:
        >>> pair = torch.zeros(1, 2, 12, 12, 12)
        >>> pair[..., 3:6, 4:7, 5:8] = 1.0
        >>> network = lambda x: torch.cat([x[:, :1], x], dim=1)
        >>> logits = PairSlidingWindow((8, 8, 8))(pair, network)
        >>> logits.shape, float(logits[0, 1, 4, 5, 6]), float(logits[0, 1, 0, 0, 0])
        (torch.Size([1, 3, 12, 12, 12]), 1.0, -20.0)
    """

    def __init__(self, roi_size: Sequence[int], *, overlap: float = 0.25, sw_batch_size: int = 1):
        super().__init__(roi_size, sw_batch_size=sw_batch_size, overlap=overlap, mode="gaussian", sigma_scale=0.25)
        self.window = tuple(int(n) for n in roi_size)
        self.step = tuple(max(int(n * (1 - overlap)), 1) for n in self.window)

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., Any],
        *args: Any,
        progress: Callable[[float], None] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Logits (B, 3, *spatial) of a pair (B, 2 * C, *spatial).

        Args:
            inputs: both visits, zero outside the region of interest.
            network: maps windows (N, 2 * C, *roi) to logits (N, 3, *roi).
            args: handed to the network.
            progress: called with the share of windows done, from 0 to 1.
            kwargs: handed to the network.
        """
        logits = torch.zeros(inputs.shape[0], 3, *inputs.shape[2:])
        logits[:, 1:] = NO_CHANGE_LOGIT
        box = _box(inputs, self.window)
        if box is None:
            return logits
        counted = self._counted(network, tuple(inputs[box].shape[2:]), progress)
        logits[box] = torch.as_tensor(super().__call__(inputs[box], counted, *args, **kwargs)).to(logits.device)
        return logits

    def _counted(
        self, network: Callable[..., Any], size: tuple[int, ...], progress: Callable[[float], None] | None
    ) -> Callable[..., Any]:
        """The network, which tells how many of the windows it has seen."""
        if progress is None:
            return network
        padded = tuple(max(extent, window) for extent, window in zip(size, self.window, strict=True))
        total = len(dense_patch_slices(padded, self.window, self.step))
        seen = 0

        def counted(window: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            out = network(window, *args, **kwargs)
            seen += window.shape[0]
            progress(min(seen / total, 1.0))
            return out

        return counted


def _box(inputs: torch.Tensor, at_least: Sequence[int]) -> tuple[slice, ...] | None:
    """Slices (for all axes) of the box that holds what is not zero, no smaller than a window where there is room."""
    present = (inputs != 0).any(dim=0).any(dim=0)
    if not bool(present.any()):
        return None
    slices = [slice(None), slice(None)]
    for axis, window in enumerate(at_least):
        others = [a for a in range(present.ndim) if a != axis]
        where = present.amax(dim=others).nonzero().flatten()
        start, stop = int(where[0]), int(where[-1]) + 1
        missing = max(min(window, present.shape[axis]) - (stop - start), 0)
        start = min(max(start - missing // 2, 0), present.shape[axis] - (stop - start) - missing)
        slices.append(slice(start, max(stop, start + min(window, present.shape[axis]))))
    return tuple(slices)
