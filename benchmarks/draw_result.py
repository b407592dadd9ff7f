# SPDX-License-Identifier: Apache-2.0
"""Draw a result folder as a picture: python benchmarks/draw_result.py RESULT PICTURE.png."""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_microchange.enums import VISITS, ResultFile
from monai_microchange.export.picture import draw_pair


def draw_result(path: Path, result: Path, *, n_rows: int = 4, title: str | None = None) -> None:
    """Draw the pair of a result folder in mid-space."""
    scans = [np.asarray(nib.load(result / ResultFile.MID_SCAN.format(visit=visit)).dataobj) for visit in VISITS]
    change = nib.load(result / ResultFile.MID_CHANGE)
    assessed = np.asarray(nib.load(result / ResultFile.MID_ASSESSED).dataobj)
    labels = np.asarray(change.dataobj)
    draw_pair(path, *scans, labels, affine=change.affine, region=assessed, n_rows=n_rows, title=title)


def shrink(path: Path, width: int) -> None:
    """Make a picture small enough for a web page."""
    from PIL import Image

    with Image.open(path) as picture:
        height = round(picture.height * width / picture.width)
        picture.convert("RGB").resize((width, height)).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--width", type=int, default=640)
    arguments = parser.parse_args()
    draw_result(arguments.picture, arguments.result, n_rows=arguments.rows)
    shrink(arguments.picture, arguments.width)
