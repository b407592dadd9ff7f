# SPDX-License-Identifier: Apache-2.0
"""Linear registration of two visits, the same whichever comes first."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.data import MetaTensor

from monai_microchange._frames import affine_from_image, apply_affine
from monai_microchange.transforms.midspace import mean_linear
from monai_microchange.transforms.registration.certainty import LEAST_SETTLED, fits_mirrored, settled_share
from monai_microchange.transforms.registration.itk_engine import register_itk
from monai_microchange.transforms.registration.poses import Poses
from monai_microchange.transforms.registration.prepare import PreparedScan, prepare_scan
from monai_microchange.transforms.registration.quality import agreement, disagreement_mm
from monai_microchange.transforms.registration.start import find_start
from monai_microchange.transforms.registration.torch_engine import refine_poses
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["DEGREES_OF_FREEDOM", "ENGINES", "LinearRegistration", "judge_pair", "register_pair"]

ENGINES = ("torch", "itk")
"""PyTorch in mid-space, or SimpleITK in both directions."""
DEGREES_OF_FREEDOM = (6, 7, 9, 12)
"""Rigid; with one scale; with a scale along each axis; affine."""
MAX_INCONSISTENCY_MM = 2.0
"""Most that both directions may disagree."""


@dataclass(frozen=True)
class LinearRegistration:
    """A linear transform between two visits and how good it seems.

    Attributes:
        baseline_to_followup: (4, 4), points of the baseline to points of the follow-up, RAS mm.
        inverse_consistency_mm: how far the two directed registrations, whose mean this is, are apart (mean over the
            head); 0 for the `torch` engine, which knows no direction.
        disagreement_mm: how far octants of the head, each aligned by itself, lie from where this puts them (root mean
            square).
        settled_share: share of the small parts of the head that fit best where this puts them, from 0 to 1 (see
            `settled_share`): near 1 for one head, about 0.2 for two.
        mirrored: whether the scans fit better when one of them is mirrored.
        overlap: share of the smaller head region that the other covers, from 0 to 1.
        correlation: Pearson's, of grey values in the overlap.
        normalized_mutual_information: of grey values in the overlap, from 1 to 2.
    """

    baseline_to_followup: np.ndarray
    inverse_consistency_mm: float
    disagreement_mm: float
    settled_share: float
    mirrored: bool
    overlap: float
    correlation: float
    normalized_mutual_information: float

    def doubts(self, *, min_overlap: float = 0.5, min_settled: float = LEAST_SETTLED) -> tuple[str, ...]:
        """Why the alignment is not to be believed, a sentence each; none if it is.

        True of a head, which one skull keeps in shape; organs that move by themselves raise doubts without being wrong.

        Args:
            min_overlap: least share of the smaller region that the other must cover. Half a head against a whole one
                passes: the whole one covers all of the half.
            min_settled: least `settled_share`.
        """
        found = []
        if self.mirrored:
            found.append("the scans fit better when one of them is mirrored: left and right are exchanged in one.")
        elif self.settled_share < min_settled:
            found.append(
                f"expected at least {min_settled:.0%} of the small parts to fit best where they lie, got "
                f"{self.settled_share:.0%}: the scans are of two patients, or do not show the same part of the body."
            )
        if self.overlap < min_overlap:
            found.append(
                f"expected an overlap of at least {min_overlap:.0%} of the smaller head (or foreground), got "
                f"{self.overlap:.0%}: the scans do not show the same part of the body."
            )
        if self.inverse_consistency_mm > MAX_INCONSISTENCY_MM:
            found.append(
                f"expected both directions to agree within {MAX_INCONSISTENCY_MM:g} mm, got "
                f"{self.inverse_consistency_mm:.1f} mm apart."
            )
        return tuple(found)


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
    pair = _Pair((baseline, followup), (baseline_mask, followup_mask), device, seed)
    try:
        poses = find_start(pair.volumes, seed)
        if engine == "torch":
            pose = refine_poses(pair.inner, poses, degrees_of_freedom=degrees_of_freedom, seed=seed)
            return pair.judged(pose.transforms[0])
        start = poses.transforms[0]
        forth, back = register_itk(*pair.scans, start, degrees_of_freedom=degrees_of_freedom, seed=seed)
        return replace(pair.judged(mean_linear(forth, back)), inverse_consistency_mm=_apart_mm(forth, back, pair.scans))
    except ValueError as error:
        raise ValueError(
            "the two scans could not be brought to overlap: are they of one patient, and do they show the same part "
            "of the body?"
        ) from error


def judge_pair(
    baseline: MetaTensor,
    followup: MetaTensor,
    baseline_to_followup: np.ndarray,
    *,
    baseline_mask: MetaTensor | None = None,
    followup_mask: MetaTensor | None = None,
    device: str | torch.device = "cpu",
    seed: int = 1,
) -> LinearRegistration:
    """How good a transform from elsewhere seems, with an inverse consistency of 0; arguments as of `register_pair`.

    Raises:
        ValueError: if a scan has no foreground or another shape, or the scans do not meet.
    """
    return _Pair((baseline, followup), (baseline_mask, followup_mask), device, seed).judged(baseline_to_followup)


class _Pair:
    """Both scans, prepared, and as volumes with all of their region and with its inner part."""

    def __init__(
        self,
        scans: tuple[MetaTensor, MetaTensor],
        masks: tuple[MetaTensor | None, MetaTensor | None],
        device: str | torch.device,
        seed: int,
    ):
        self.scans = prepare_scan(scans[0], masks[0]), prepare_scan(scans[1], masks[1])
        self.device = torch.device(device)
        self.volumes = [Volume.of(scan, self.device) for scan in self.scans]
        self.inner = [volume.within(scan.inner) for volume, scan in zip(self.volumes, self.scans, strict=True)]
        self.seed = seed

    def judged(self, transform: np.ndarray) -> LinearRegistration:
        """The transform with what the scans say of it."""
        pose = Poses.of_transform(transform, [volume.centre for volume in self.volumes], self.device)
        share = settled_share(self.inner, pose)
        return LinearRegistration(
            transform,
            0.0,
            disagreement_mm(self.volumes, pose, self.seed),
            share,
            fits_mirrored(self.inner, share, self.seed),
            *agreement(self.volumes, transform),
        )


def _apart_mm(one: np.ndarray, other: np.ndarray, scans: tuple[PreparedScan, PreparedScan]) -> float:
    """Mean distance between two transforms' results, measured over either head, so that the order does not matter."""
    inverse = np.linalg.inv(one), np.linalg.inv(other)
    distances = []
    for (a, b), scan in zip(((one, other), inverse), scans, strict=True):
        shape = np.asarray(scan.region.GetSize())
        points = apply_affine(affine_from_image(scan.region), np.indices((5, 5, 5)).reshape(3, -1).T / 4 * (shape - 1))
        distances.append(np.linalg.norm(apply_affine(a, points) - apply_affine(b, points), axis=1).mean())
    return float(np.mean(distances))
