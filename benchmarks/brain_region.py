# SPDX-License-Identifier: Apache-2.0
"""Dice of our brain region with the data set's masks: MICROCHANGE_DATA=... python benchmarks/brain_region.py."""

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monai_microchange._frames import LPS_FROM_RAS, affine_from_image, apply_affine
from monai_microchange.data import read_volume
from monai_microchange.enums import Anatomy
from monai_microchange.networks.anatomy import load_anatomy_network
from monai_microchange.transforms import anatomy_probabilities, clean_brain

SCANS = ("patient01/study1", "patient04/study1", "patient09/study2", "patient19/study1", "patient20/study2")


def brain_dice(scan: Path, network) -> float:
    """Compare on the voxels of the data set's mask, in its common space."""
    mask = sitk.ReadImage(str(scan.parent / "brainmask.nii.gz"))
    truth = sitk.GetArrayFromImage(mask).transpose(2, 1, 0) > 0
    probability = anatomy_probabilities(read_volume(Path(f"{scan}_FLAIR.nii.gz")), network)
    labels = clean_brain(probability.argmax(dim=0).numpy().astype(np.uint8))
    brain = (labels != Anatomy.BACKGROUND) & (labels != Anatomy.OUTER_CSF)
    to_scan = sitk.ReadTransform(f"{scan}_FLAIR_to_common_space.txt")
    index = np.argwhere(np.ones_like(truth))[::7]
    common = apply_affine(LPS_FROM_RAS @ affine_from_image(mask), index)
    points = np.array([to_scan.TransformPoint(point.tolist()) for point in common])
    at = np.rint(apply_affine(np.linalg.inv(probability.affine.numpy()) @ LPS_FROM_RAS, points)).astype(int)
    inside = ((at >= 0) & (at < labels.shape)).all(axis=1)
    found = np.zeros(len(at), bool)
    found[inside] = brain[tuple(at[inside].T)]
    true = truth[tuple(index.T)]
    return 2 * float((found & true).sum()) / float(found.sum() + true.sum())


if __name__ == "__main__":
    folder, network = Path(os.environ["MICROCHANGE_DATA"]) / "ljubljana_longitudinal", load_anatomy_network()
    print("| scan | Dice |\n|---|---|")
    for name in SCANS:
        print(f"| {name} | {brain_dice(folder / name, network):.3f} |", flush=True)
