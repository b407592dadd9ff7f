# SPDX-License-Identifier: Apache-2.0
"""Writes pictures small enough to be kept beside the text that shows them."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

COLOURS = 256


def save_picture(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG of 256 colours, about half the size of a full one."""
    full = BytesIO()
    figure.savefig(full, format="png")
    few = Image.open(full).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
