# SPDX-License-Identifier: Apache-2.0
"""Linear registration of two visits, the same whichever comes first."""

from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor

from monai_microchange._frames import affine_from_image, apply_affine
from monai_microchange.transforms.midspace import mean_linear
from monai_microchange.transforms.registration.itk_engine import register_itk
from monai_microchange.transforms.registration.poses import Poses
from monai_microchange.transforms.registration.prepare import PreparedScan, prepare_scan
from monai_microchange.transforms.registration.quality import agreement, disagreement_mm
from monai_microchange.transforms.registration.start import find_start
from monai_microchange.transforms.registration.torch_engine import refine_poses
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["DEGREES_OF_FREEDOM", "ENGINES", "LinearRegistration", "register_pair"]

ENGINES = ("torch", "itk")
"""PyTorch in mid-space, or SimpleITK in both directions."""
DEGREES_OF_FREEDOM = (6, 7, 9, 12)
"""Rigid; with one scale; with a scale along each axis; affine."""


@dataclass(frozen=True)
class LinearRegistration:
    """A linear transform between two visits and how good it seems.

    Attributes:
        baseline_to_followup: (4, 4), points of the baseline to points of the follow-up, RAS mm.
        inverse_consistency_mm: how far the two directed registrations, whose mean this is, are apart (mean over the
            head); 0 for the `torch` engine, which knows no direction.
        disagreement_mm: how far octants of the head, each aligned by itself, lie from where this puts them (root mean
            square). Pairs of one head have 0.1 to 1.5 (T1 against FLAIR); two heads 2.2 and more.
        overlap: share of the smaller head region that the other covers, from 0 to 1.
        correlation: Pearson's, of grey values in the overlap.
        normalized_mutual_information: of grey values in the overlap, from 1 to 2.
    """

    baseline_to_followup: np.ndarray
    inverse_consistency_mm: float
    disagreement_mm: float
    overlap: float
    correlation: float
    normalized_mutual_information: float


def register_pair(
    baseline: MetaTensor,
    followup: MetaTensor,
    *,
    baseline_mask: MetaTensor | None = None,
    followup_mask: MetaTensor | None = None,
    degrees_of_freedom: int = 6,
    engine: str = "torch",
    device: str | torch.device = "cpu",
    seed: int = 1,
) -> LinearRegistration:
    """Linear transform that brings two scans of one head together, from any pose within 60 degrees.

    Mutual information is maximised from coarse to fine, so the contrasts may differ; a search over turns and shifts
    finds where to begin if the headers do not say. Exchanging the scans inverts the result: nothing depends on which
    comes first.

    Args:
        baseline: scan (1, I, J, K) with its affine to RAS mm.
        followup: scan (1, I, J, K) with its affine to RAS mm.
        baseline_mask: region (1, i, j, k) that the alignment is judged in, on a grid of its own; the head by default.
        followup_mask: the same of the follow-up.
        degrees_of_freedom: 6 (rigid), 7 (and one scale), 9 (a scale along each axis) or 12 (affine).
        engine: `torch` (one transform, whose halves move both scans) or `itk` (SimpleITK, one scan to the other both
            ways round, and the mean).
        device: of the `torch` engine and of the measures of quality.
        seed: of the places of samples.

    Returns:
        The transform and its quality.

    Raises:
        ValueError: if an option has no such value, a scan has no foreground or another shape, or the scans cannot be
            brought to overlap.

    Example:
        >>> ball = torch.cartesian_prod(*[torch.arange(-20.0, 21.0)] * 3).norm(dim=1).view(1, 41, 41, 41)
        >>> scan = MetaTensor((ball < 16).float() * (1 + (ball < 8).float()), affine=torch.eye(4))
        >>> found = register_pair(scan, scan)
        >>> bool(np.allclose(found.baseline_to_followup, np.eye(4), atol=0.01))
        True

    Source: Reuter et al., 2010, doi 10.1016/j.neuroimage.2010.07.020 (mid-space, robustness to change); Studholme et
    al., 1999, doi 10.1016/S0031-3203(98)00091-0 (normalised mutual information).
    """
    if degrees_of_freedom not in DEGREES_OF_FREEDOM:
        raise ValueError(f"degrees_of_freedom must be one of {DEGREES_OF_FREEDOM}; got {degrees_of_freedom!r}")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}; got {engine!r}")
    scans = prepare_scan(baseline, baseline_mask), prepare_scan(followup, followup_mask)
    volumes = [Volume.of(scan, torch.device(device)) for scan in scans]
    try:
        poses = find_start(volumes, seed)
        if engine == "torch":
            pose = refine_poses(volumes, poses, degrees_of_freedom=degrees_of_freedom, seed=seed)
            transform, apart = pose.transforms[0], 0.0
        else:
            forth, back = register_itk(*scans, poses.transforms[0], degrees_of_freedom=degrees_of_freedom, seed=seed)
            transform, apart = mean_linear(forth, back), _apart_mm(forth, back, scans)
            pose = Poses.of_transform(transform, [volume.centre for volume in volumes], torch.device(device))
        doubt = disagreement_mm(volumes, pose, seed)
    except ValueError as error:
        raise ValueError(
            "the two scans could not be brought to overlap: are they of one patient, and do they show the same part "
            "of the body?"
        ) from error
    return LinearRegistration(transform, apart, doubt, *agreement(volumes, transform))


def _apart_mm(one: np.ndarray, other: np.ndarray, scans: tuple[PreparedScan, PreparedScan]) -> float:
    """Mean distance between two transforms' results, measured over either head, so that the order does not matter."""
    inverse = np.linalg.inv(one), np.linalg.inv(other)
    distances = []
    for (a, b), scan in zip(((one, other), inverse), scans, strict=True):
        shape = np.asarray(scan.region.GetSize())
        points = apply_affine(affine_from_image(scan.region), np.indices((5, 5, 5)).reshape(3, -1).T / 4 * (shape - 1))
        distances.append(np.linalg.norm(apply_affine(a, points) - apply_affine(b, points), axis=1).mean())
    return float(np.mean(distances))
