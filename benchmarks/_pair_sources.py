# SPDX-License-Identifier: Apache-2.0
"""Where pairs to look at come from: two real ones with expert masks, and the simulator as the bundle trains with it.

All arrays are (I, J, K), 1 mm isotropic, axes along right, anterior, superior; white matter is 1 in either visit.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage as ndi

from monai_microchange._frames import affine_from_image, array_from_image, corners_mm, image_from_array
from monai_microchange.enums import VISITS, Anatomy, ChangeLabel
from monai_microchange.metrics.lesion_matching import label_components
from monai_microchange.transforms import MergeAnatomyd, RandSimulateChanged, SegmentAnatomyd

DATA_SET = "ljubljana_longitudinal"
REAL_PATIENTS = ("patient01", "patient19")
CONFIG = Path(__file__).parents[1] / "bundles" / "ms_lesion_change" / "configs" / "train.yaml"


@dataclass(frozen=True)
class Pair:
    """Two visits, what changed between them, and the anatomy.

    Attributes:
        scan: the file, or the patient, that it comes from.
        is_real: both visits were scanned.
        baseline: scan, white matter at 1.
        followup: scan, white matter at 1.
        label: `ChangeLabel` codes; CHANGED where an expert did not say in which direction.
        anatomy: `Anatomy` labels.
    """

    scan: str
    is_real: bool
    baseline: np.ndarray
    followup: np.ndarray
    label: np.ndarray
    anatomy: np.ndarray

    @cached_property
    def change(self) -> np.ndarray:
        """Whatever changed."""
        return np.isin(self.label, (ChangeLabel.GAIN, ChangeLabel.LOSS, ChangeLabel.CHANGED))

    @cached_property
    def brain(self) -> np.ndarray:
        """Brain without the CSF around it, where both visits were scanned."""
        inside = (self.anatomy != Anatomy.BACKGROUND) & (self.anatomy != Anatomy.OUTER_CSF)
        return inside & (self.baseline > 0) & (self.followup > 0)

    @cached_property
    def still(self) -> np.ndarray:
        """Brain farther than 3 mm from any change."""
        return self.brain & ~ndi.binary_dilation(self.change, iterations=3)

    def tissue(self, *labels: Anatomy, shrink: int = 0) -> np.ndarray:
        """Unchanged voxels of these labels, `shrink` voxels within their border."""
        mask = np.isin(self.anatomy, labels)
        return (ndi.binary_erosion(mask, iterations=shrink) if shrink else mask) & self.still

    @cached_property
    def white_matter(self) -> np.ndarray:
        """Unchanged white matter, one voxel within its border."""
        return self.tissue(Anatomy.WHITE_MATTER, shrink=1)

    def block(self, corner: Sequence[int], size: Sequence[int]) -> "Pair":
        """The part of the pair in a box."""
        box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        parts = {name: getattr(self, name)[box] for name in (*VISITS, "label", "anatomy")}
        return replace(self, **parts)


def make_pair(scan: str, data: Mapping[Hashable, Any], *, is_real: bool) -> Pair:
    """A pair out of what a transform left: keys baseline, followup, label, anatomy, each (1, I, J, K)."""
    arrays = {key: np.asarray(data[key])[0] for key in (*VISITS, "label", "anatomy")}
    pair = Pair(scan, is_real, **arrays)
    levels = {visit: float(np.median(arrays[visit][pair.white_matter])) for visit in VISITS}
    return replace(pair, **{visit: (arrays[visit] / levels[visit]).astype(np.float32) for visit in VISITS})


def real_pair(folder: Path, network: torch.nn.Module) -> Pair:
    """One patient's two visits and change mask, each resampled once, by the data set's own transforms."""
    truth = sitk.ReadImage(str(folder / "gt.nii.gz"))
    corners = corners_mm(affine_from_image(truth), array_from_image(truth).shape)
    affine = np.eye(4)
    affine[:3, 3] = corners.min(axis=0) + 0.5
    shape = np.ceil(np.ptp(corners, axis=0)).astype(int)
    grid = image_from_array(np.zeros(shape, np.uint8), affine)
    data: dict[Hashable, Any] = {}
    for number, visit in enumerate(VISITS, start=1):
        scan = sitk.ReadImage(str(folder / f"study{number}_FLAIR.nii.gz"), sitk.sitkFloat32)
        to_scan = sitk.ReadTransform(str(folder / f"study{number}_FLAIR_to_common_space.txt"))
        data[visit] = _tensor(sitk.Resample(scan, grid, to_scan, sitk.sitkLinear, 0.0), affine)
    data = MergeAnatomyd(VISITS)(SegmentAnatomyd(VISITS, network)(data))
    brain = _tensor(_onto(folder / "brainmask.nii.gz", grid), affine) > 0
    data["anatomy"] = data["anatomy"] * brain
    data["label"] = _tensor(_onto(folder / "gt.nii.gz", grid), affine) * int(ChangeLabel.CHANGED)
    return make_pair(folder.name, data, is_real=True)


def _onto(path: Path, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(sitk.ReadImage(str(path)), grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def _tensor(image: sitk.Image, affine: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(array_from_image(image))[None], affine=torch.from_numpy(affine))


def expert_volumes_mm3(root: Path, *, min_volume_mm3: float = 3.0) -> list[float]:
    """Volume of each piece of change in every expert mask of the data set, on the grids they were drawn on."""
    volumes: list[float] = []
    for path in sorted((root / DATA_SET).glob("*/gt.nii.gz")):
        mask = sitk.ReadImage(str(path))
        spacing_mm = mask.GetSpacing()
        labels, _ = label_components(array_from_image(mask) > 0, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3)
        volumes += (np.bincount(labels.ravel())[1:] * float(np.prod(spacing_mm))).tolist()
    return volumes


class TrainingSimulator:
    """The simulator as a bundle trains with it: its scans, how it prepares them, and what it draws up to the pair.

    Args:
        root: folder of the real scans.
        config: the bundle's `train.yaml`.
    """

    def __init__(self, root: Path, config: Path = CONFIG):
        self.parser = ConfigParser()
        self.parser.read_config(str(config))
        self.parser["data_root"] = str(root)
        self.parser["bundle_root"] = str(config.parents[1])
        self.parser.get_parsed_content("imports")
        self.scans: list[dict[str, Any]] = self.parser.get_parsed_content("scans")
        self.prepare: Compose = self.parser.get_parsed_content("prepare_scan")
        drawn = list(self.parser.get_parsed_content("draw_from_scan").transforms)
        last = next(n for n, step in enumerate(drawn) if isinstance(step, RandSimulateChanged))
        self.draw = Compose(drawn[: last + 1])
        self.block: list[int] = self.parser.get_parsed_content("block")

    @cached_property
    def prepared(self) -> list[dict[str, Any]]:
        """Each scan, ready to be drawn from."""
        return [self.prepare(scan) for scan in self.scans]

    def pairs(self, count: int, *, seed: int = 0) -> Iterator[Pair]:
        """Draw pairs, from each scan in turn."""
        self.draw.set_random_state(seed)
        for number in range(count):
            which = number % len(self.scans)
            yield make_pair(self.scans[which]["image"], self.draw(self.prepared[which]), is_real=False)

    def sources(self) -> list[Pair]:
        """The scans before anything is simulated: each as a pair with itself."""
        pairs = []
        for scan, data in zip(self.scans, self.prepared, strict=True):
            same: dict[Hashable, Any] = dict.fromkeys(VISITS, data["image"])
            same["anatomy"] = data["anatomy"]
            same["label"] = torch.full_like(torch.as_tensor(data["anatomy"]), ChangeLabel.NONE)
            pairs.append(make_pair(scan["image"], same, is_real=True))
        return pairs

    def sharpest_head(self) -> dict[str, torch.Tensor]:
        """Image and anatomy (1, I, J, K) of that scan with thin slices that shows most outside of the brain."""
        thinnest = min(scan.get("thickness_mm", 1.0) for scan in self.scans)
        pairs = [p for p, s in zip(self.sources(), self.scans, strict=True) if s.get("thickness_mm", 1.0) == thinnest]
        head = max(pairs, key=lambda p: float(((p.baseline > 0) & (p.anatomy == Anatomy.BACKGROUND)).mean()))
        return {"image": torch.from_numpy(head.baseline)[None], "anatomy": torch.from_numpy(head.anatomy)[None]}
