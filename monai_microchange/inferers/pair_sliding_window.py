# SPDX-License-Identifier: Apache-2.0
"""Sliding window over the part of a pair that there is something in."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer

__all__ = ["PairSlidingWindow"]

NO_CHANGE_LOGIT = -20.0
"""Logit of gain and loss where nothing was looked at."""

Precision = Literal["auto", "float32", "bfloat16"]


class PairSlidingWindow(SlidingWindowInferer):
    """MONAI's sliding window, kept to the box that holds the region of interest.

    Harmonised scans are zero outside the region, so its box can be read off the input; outside it, and in windows of
    the box that hold nothing, the logits say none and the network is not asked.

    Args:
        roi_size: window in voxels.
        overlap: share that neighbouring windows share.
        sw_batch_size: windows per pass.
        precision: of the network's arithmetic. "auto" is bfloat16 where the device computes with it, which takes
            about a third of the time, else float32.

    Raises:
        ValueError: if the precision is not one of these.

    Example:
        >>> pair = torch.zeros(1, 2, 12, 12, 12)
        >>> pair[..., 3:6, 4:7, 5:8] = 1.0
        >>> network = lambda x: torch.cat([x[:, :1], x], dim=1)
        >>> logits = PairSlidingWindow((8, 8, 8))(pair, network)
        >>> logits.shape, float(logits[0, 1, 4, 5, 6]), float(logits[0, 1, 0, 0, 0])
        (torch.Size([1, 3, 12, 12, 12]), 1.0, -20.0)
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        *,
        overlap: float = 0.25,
        sw_batch_size: int = 1,
        precision: Precision = "auto",
    ):
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}; got {precision!r}")
        super().__init__(roi_size, sw_batch_size=sw_batch_size, overlap=overlap, mode="gaussian", sigma_scale=0.25)
        self.window = tuple(int(n) for n in roi_size)
        self.precision = precision
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
        total = len(dense_patch_slices(tuple(map(max, inputs[box].shape[2:], self.window)), self.window, self.step))
        seen = 0

        def ask(windows: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            nonlocal seen
            out = windows.new_zeros(windows.shape[0], 3, *windows.shape[2:])
            out[:, 1:] = NO_CHANGE_LOGIT
            if bool(windows.any()):
                with self._arithmetic(windows.device):
                    out = network(windows, *args, **kwargs).float()
            seen += windows.shape[0]
            if progress is not None:
                progress(min(seen / total, 1.0))
            return out

        logits[box] = torch.as_tensor(super().__call__(inputs[box], ask, *args, **kwargs)).to(logits.device)
        return logits

    def _arithmetic(self, device: torch.device) -> torch.autocast:
        """The context in which the network computes."""
        short = self.precision == "bfloat16" or (self.precision == "auto" and _has_bfloat16(device))
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=short)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


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
