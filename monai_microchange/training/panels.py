# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a network makes of a patch, for TensorBoard."""

import numpy as np
import torch

from monai_microchange.enums import ChangeLabel

__all__ = ["change_panel"]

LABEL_COLOURS = {
    ChangeLabel.GAIN: (213, 94, 0),
    ChangeLabel.LOSS: (0, 114, 178),
    ChangeLabel.CHANGED: (204, 121, 167),
    ChangeLabel.UNKNOWN: (90, 90, 90),
}
"""Red, green, blue of each label over black: vermilion, blue, purple and grey of Okabe and Ito, which colour-blind
readers tell apart."""


def change_panel(image: torch.Tensor, label: torch.Tensor, probability: torch.Tensor) -> np.ndarray:
    """Baseline, follow-up, label, and probability of gain and of loss, side by side, where most is labelled as changed.

    The slice is taken along the last axis. Scans share one grey scale, from their 1st to their 99th percentile;
    probabilities are black at 0 and white at 1.

    Args:
        image: (channels, I, J, K), channels of the baseline first; the first of each visit is shown.
        label: (1, I, J, K), `ChangeLabel` codes.
        probability: (3, I, J, K), of none, gain and loss.

    Returns:
        (3, J, 5 * I + 4), uint8: red, green, blue; one white column between the parts.

    Example:
        >>> empty = torch.zeros(1, 8, 6, 4)
        >>> change_panel(torch.rand(2, 8, 6, 4), empty, empty.expand(3, -1, -1, -1)).shape
        (3, 6, 44)
    """
    codes = label[0].long()
    changed = (codes > ChangeLabel.NONE) & (codes < ChangeLabel.UNKNOWN)
    per_slice = changed.sum(dim=(0, 1))
    # without any change the middle says most
    k = int(per_slice.argmax()) if bool(per_slice.any()) else codes.shape[-1] // 2
    scans = image[[0, len(image) // 2], :, :, k].float().numpy()
    low, high = np.percentile(scans, [1, 99])
    shown = [
        *(scans - low) / max(high - low, 1e-6),
        _coloured(codes[:, :, k].numpy()),
        *probability[1:, :, :, k].numpy(),
    ]
    parts = [np.broadcast_to(part, (3, *part.shape[-2:])) for part in shown]
    line = np.ones((3, 1, parts[0].shape[-1]))
    row = np.concatenate([piece for part in parts for piece in (line, part)][1:], axis=1)
    # second axis up, as on a screen of radiology
    return (255 * np.clip(row, 0, 1)).round().astype(np.uint8).transpose(0, 2, 1)[:, ::-1]


def _coloured(codes: np.ndarray) -> np.ndarray:
    """Labels (I, J) as colours (3, I, J) from 0 to 1."""
    table = np.zeros((len(ChangeLabel), 3))
    for code, colour in LABEL_COLOURS.items():
        table[code] = np.array(colour) / 255
    return table[codes].transpose(2, 0, 1)
