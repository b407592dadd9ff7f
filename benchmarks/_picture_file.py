# SPDX-License-Identifier: Apache-2.0
"""Writes pictures small enough to be kept beside the text that shows them."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

COLOURS = 64


def save_picture(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG of few colours, a third of the size of a full one."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    Image.fromarray(pixels).quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
