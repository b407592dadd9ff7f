# SPDX-License-Identifier: Apache-2.0
"""Score a result folder against an expert change mask of the Ljubljana longitudinal data, on the truth's own grid.

Lesjak et al., "Validation of White-Matter Lesion Change Detection Methods on a Novel Publicly Available MRI Image
Database", Neuroinformatics 2016. All matrices (4, 4) are RAS mm; "common" is the space of the expert's mask.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monai_microchange._frames import (
    affine_from_image,
    apply_affine,
    array_from_image,
    image_from_array,
    matrix_from_transform,
    spacing_from_affine,
    transform_from_matrix,
)
from monai_microchange.enums import VISITS, ChangeType, ResultFile
from monai_microchange.metrics import LesionMatches, LesionScores, match_lesions, score_lesions

CLEAR_CONTRAST = 0.4
"""Robust standard deviations by which a lesion must differ between the visits for its direction to be judged."""


@dataclass(frozen=True)
class Case:
    """One patient on the truth's grid.

    Attributes:
        truth: expert mask (I, J, K), boolean; it says that something changed, not in which direction.
        brain: brain mask (I, J, K), boolean.
        scans: baseline and follow-up FLAIR (I, J, K), resampled by the data set's own transforms.
        affine: (4, 4), voxel to common mm.
        common_to_scan: for each visit the data set's matrix that leads to a point of the scan.
    """

    truth: np.ndarray
    brain: np.ndarray
    scans: tuple[np.ndarray, np.ndarray]
    affine: np.ndarray
    common_to_scan: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PairScores:
    """Scores of one result; `n_direction_ok` of the `n_direction` found lesions of clear contrast go the right way."""

    lesions: LesionScores
    n_direction_ok: int
    n_direction: int
    registration_mm: float


def scan_path(folder: Path, visit: str) -> Path:
    """The raw FLAIR of a visit."""
    return folder / f"study{VISITS.index(visit) + 1}_FLAIR.nii.gz"


def load_case(folder: Path) -> Case:
    """Read one patient's folder."""
    truth = sitk.ReadImage(str(folder / "gt.nii.gz"))
    brain = sitk.ReadImage(str(folder / "brainmask.nii.gz"))
    scans, matrices = [], []
    for visit in VISITS:
        path = scan_path(folder, visit)
        to_scan = sitk.ReadTransform(str(path).replace(".nii.gz", "_to_common_space.txt"))
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        scans.append(array_from_image(sitk.Resample(image, truth, to_scan, sitk.sitkLinear, 0.0)))
        matrices.append(matrix_from_transform(to_scan))
    return Case(
        truth=array_from_image(truth) > 0,
        brain=array_from_image(brain) > 0,
        scans=(scans[0], scans[1]),
        affine=affine_from_image(truth),
        common_to_scan=(matrices[0], matrices[1]),
    )


def score_result(case: Case, result: Path) -> PairScores:
    """Score the mid-space change map and the transforms of a result folder."""
    mid_to_scan = [
        matrix_from_transform(sitk.ReadTransform(str(result / ResultFile.TRANSFORM.format(visit=visit))))
        for visit in VISITS
    ]
    change = change_on_truth_grid(case, sitk.ReadImage(str(result / ResultFile.MID_CHANGE)), mid_to_scan[0])
    spacing_mm = tuple(spacing_from_affine(case.affine).tolist())
    ok, judged = direction_agreement(case, change, match_lesions(change > 0, case.truth, spacing_mm=spacing_mm))
    return PairScores(
        lesions=score_lesions(change > 0, case.truth, spacing_mm=spacing_mm),
        n_direction_ok=ok,
        n_direction=judged,
        registration_mm=registration_error_mm(case, mid_to_scan[0], mid_to_scan[1]),
    )


def change_on_truth_grid(case: Case, change: sitk.Image, mid_to_baseline: np.ndarray) -> np.ndarray:
    """Labels (I, J, K) of a mid-space change map at the truth's voxels, nearest neighbour, by way of the baseline."""
    common_to_mid = np.linalg.inv(mid_to_baseline) @ case.common_to_scan[0]
    grid = image_from_array(case.truth.astype(np.uint8), case.affine)
    moved = sitk.Resample(change, grid, transform_from_matrix(common_to_mid), sitk.sitkNearestNeighbor, 0)
    return array_from_image(moved)


def direction_agreement(case: Case, change: np.ndarray, matches: LesionMatches) -> tuple[int, int]:
    """Of the found lesions with a clear change of intensity: how many have its sign, and how many there are.

    The truth has no direction, so it is read off the images: each visit in robust standard deviations of its brain,
    the difference averaged over the true lesion. A lesion brightens in our map where most of its labels are gain.
    """
    brighter = _standardised(case.scans[1], case.brain) - _standardised(case.scans[0], case.brain)
    labels = matches.reference_labels.ravel()
    n = matches.n_reference + 1
    difference = np.bincount(labels, brighter.ravel(), n) / np.maximum(np.bincount(labels, minlength=n), 1)
    gain = np.bincount(labels, np.isin(change, [t for t in ChangeType if t.is_gain]).ravel(), n)
    marked = np.bincount(labels, change.ravel() > 0, n)
    found = matches.pairs[:, 1]
    judged = found[np.abs(difference[found]) > CLEAR_CONTRAST]
    agrees = (gain[judged] > 0.5 * marked[judged]) == (difference[judged] > 0)
    return int(agrees.sum()), len(judged)


def registration_error_mm(case: Case, mid_to_baseline: np.ndarray, mid_to_followup: np.ndarray) -> float:
    """Mean distance over the brain between our follow-up point and the data set's, for each baseline point.

    The data set's affine transforms are estimates themselves, so a perfect registration does not reach 0.
    """
    common = apply_affine(case.affine, np.argwhere(case.brain))
    ours = mid_to_followup @ np.linalg.inv(mid_to_baseline) @ case.common_to_scan[0]
    apart = apply_affine(ours, common) - apply_affine(case.common_to_scan[1], common)
    return float(np.linalg.norm(apart, axis=1).mean())


def _standardised(scan: np.ndarray, brain: np.ndarray) -> np.ndarray:
    median = np.median(scan[brain])
    return (scan - median) / (1.4826 * np.median(np.abs(scan[brain] - median)))
