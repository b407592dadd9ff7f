# SPDX-License-Identifier: Apache-2.0
"""Is a cross-sectional patient, whom training sees, one of the longitudinal patients, whom scores are made on?

The two data sets come from one hospital and number their patients apart. Each cross-sectional FLAIR is registered
(affine) to each longitudinal one, both without skull, and anatomy decides: the share of 15 mm parts of the brain that
fit best where the alignment puts them. Beside it stand the same figures of pairs that are known:

    MICROCHANGE_DATA=... python benchmarks/same_patient.py --json same_patient.json

*one patient*: both visits. *one patient, prepared*: the one visit made as the cross-sectional scans are (bias field
removed by N4, turned, stretched and sheared by an affine, on their 1 mm grid). *two patients*: longitudinal ones.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from _real_tables import markdown
from _registration_gate import VISITS_OF_PATIENTS, _as_tensor
from _registration_methods import SEED, _network
from _registration_sources import CROSS_SECTIONAL, LONGITUDINAL, load_source
from real_pairs import PATIENTS
from rich.progress import track
from scipy.spatial.transform import Rotation

from monai_microchange._frames import (
    affine_from_image,
    apply_affine,
    array_from_image,
    image_from_array,
    transform_from_matrix,
)
from monai_microchange.enums import Anatomy
from monai_microchange.transforms import anatomy_probabilities, merge_anatomy
from monai_microchange.transforms.registration import register_pair
from monai_microchange.transforms.registration.certainty import LEAST_SETTLED

ASKED = ("patient07", "patient19", "patient26")
"""Cross-sectional patients with images; patient19 is not the longitudinal one by number."""
ONE, PREPARED, TWO = "one patient", "one patient, prepared", "two patients"
KNOWN = {ONE: True, PREPARED: True, TWO: False}
"""Groups of which it is known whether both scans are of one patient."""
LEAST_DICE = 0.8
"""Brains that cover each other less were not brought together, and their parts say nothing."""


@dataclass(frozen=True)
class Scan:
    """A FLAIR without skull; `image`, `brain` and `ventricles` (0/1) on one grid."""

    image: sitk.Image
    brain: sitk.Image
    ventricles: sitk.Image


@dataclass(frozen=True)
class Likeness:
    """What two scans say of being of one patient.

    Attributes:
        group: of the pair, one of `KNOWN` or a question.
        pair: names of both scans.
        settled_share: of the small parts, those that fit best where they lie (0 to 1).
        mirrored: whether they fit when one scan is mirrored.
        correlation: Pearson's, of grey values where both show brain.
        brain_dice: of both brains.
        ventricle_dice: of both brains' ventricles.
    """

    group: str
    pair: str
    settled_share: float
    mirrored: bool
    correlation: float
    brain_dice: float
    ventricle_dice: float

    @property
    def alike(self) -> bool:
        """Whether the rule takes both for one patient: the registration gate's limit, or mirrored."""
        return self.settled_share >= LEAST_SETTLED or self.mirrored


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of real scans")
    parser.add_argument("--json", type=Path, help="write the figures of every pair here")
    options = parser.parse_args(arguments)
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    pairs = list(pairs_of(Path(options.data)))
    found = [measure(*pair) for pair in track(pairs, "registering", disable=not sys.stderr.isatty())]
    print(table(found))
    print(f"\n{conclusion(found)}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    return 0


def pairs_of(root: Path) -> Iterator[tuple[str, str, Scan, Scan]]:
    """Group, name and both scans of every pair."""
    visits = {
        f"{patient}-{visit}": stripped(root, f"{LONGITUDINAL}/{patient}/study{visit}_FLAIR.nii.gz")
        for patient, numbers in VISITS_OF_PATIENTS.items()
        for visit in numbers
    }
    asked = {patient: stripped(root, f"{CROSS_SECTIONAL}/{patient}") for patient in ASKED}
    for patient in PATIENTS:
        first, second = f"{patient}-1", f"{patient}-2"
        yield ONE, patient, visits[first], visits[second]
        for one, other in ((first, second), (second, first)):
            prepared = prepare(visits[one], asked[ASKED[0]].image)
            yield PREPARED, f"{one} (prepared), {other}", prepared, visits[other]
    firsts = [f"{patient}-{numbers[0]}" for patient, numbers in VISITS_OF_PATIENTS.items()]
    for one, other in combinations(firsts, 2):
        yield TWO, f"{one}, {other}", visits[one], visits[other]
    for patient, scan in asked.items():
        for name, visit in visits.items():
            group = "scored" if name.split("-")[0] in PATIENTS else "other"
            yield f"cross-sectional {patient}, {group} ones", f"cross-sectional {patient}, {name}", scan, visit


def stripped(root: Path, name: str) -> Scan:
    """A FLAIR without what lies outside the brain.

    Of heads, brain is what both the data set and the package's anatomy network take for it, since the data set's mask
    of patient19 holds the skin too (2.4 litres). Ventricles are the network's.
    """
    source = load_source(root, name)
    image, brain = source.images["FLAIR"], array_from_image(source.brain) > 0
    scan = _as_tensor(image)
    labels = merge_anatomy([anatomy_probabilities(scan, _network())], scan).numpy()[0]
    if not source.is_stripped:
        brain &= (labels != Anatomy.BACKGROUND) & (labels != Anatomy.OUTER_CSF)
    masks = [image_from_array(m.astype(np.uint8), scan.affine.numpy()) for m in (brain, labels == Anatomy.VENTRICLE)]
    for mask in masks:
        mask.CopyInformation(image)
    return Scan(sitk.Mask(image, masks[0]), *masks)


def prepare(scan: Scan, grid: sitk.Image) -> Scan:
    """The scan made as the cross-sectional ones are, by an affine of which the registration knows nothing."""
    small, brain = (sitk.Shrink(one, [4, 4, 1]) for one in (scan.image, scan.brain))
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.Execute(small, brain)
    even = scan.image / sitk.Exp(correction.GetLogBiasFieldAsImage(scan.image))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (9, -5, 6), degrees=True).as_matrix() @ np.diag((1.08, 0.94, 1.04))
    matrix[0, 1] += 0.04
    matrix[:3, 3] = _middle(scan.brain) - matrix[:3, :3] @ _middle(grid > 0)
    to_scan = transform_from_matrix(matrix)
    moved = sitk.Resample(sitk.Mask(even, scan.brain), grid, to_scan, sitk.sitkLinear, 0.0)
    masks = (sitk.Resample(m, grid, to_scan, sitk.sitkNearestNeighbor, 0) for m in (scan.brain, scan.ventricles))
    return Scan(moved, *masks)


def measure(group: str, name: str, one: Scan, other: Scan) -> Likeness:
    """Register two scans, all of an affine free, and compare them on the voxels of the first."""
    found = register_pair(
        _as_tensor(one.image),
        _as_tensor(other.image),
        baseline_mask=_as_tensor(one.brain),
        followup_mask=_as_tensor(other.brain),
        degrees_of_freedom=12,
        seed=SEED,
    )
    to_other = transform_from_matrix(found.baseline_to_followup)

    def moved(image: sitk.Image, interpolator: int) -> np.ndarray:
        return array_from_image(sitk.Resample(image, one.image, to_other, interpolator, 0))

    brains = array_from_image(one.brain) > 0, moved(other.brain, sitk.sitkNearestNeighbor) > 0
    fluids = array_from_image(one.ventricles) > 0, moved(other.ventricles, sitk.sitkNearestNeighbor) > 0
    both = brains[0] & brains[1]
    greys = array_from_image(one.image)[both], moved(other.image, sitk.sitkLinear)[both]
    return Likeness(
        group=group,
        pair=name,
        settled_share=found.settled_share,
        mirrored=found.mirrored,
        correlation=float(np.corrcoef(*greys)[0, 1]),
        brain_dice=_dice(*brains),
        ventricle_dice=_dice(*fluids),
    )


def table(found: Sequence[Likeness]) -> str:
    """A row a group: range of each figure, and how many pairs the rule takes for one patient."""
    rows = []
    for group in dict.fromkeys(one.group for one in found):
        own = [one for one in found if one.group == group]
        figures = ("settled_share", "correlation", "ventricle_dice", "brain_dice")
        ranges = [_range([getattr(one, figure) for one in own]) for figure in figures]
        rows.append([group, str(len(own)), *ranges, f"{sum(one.alike for one in own)}/{len(own)}"])
    head = ["pairs", "n", "settled share", "correlation", "Dice of ventricles", "Dice of brains", "taken for one"]
    return markdown(head, rows)


def conclusion(found: Sequence[Likeness]) -> str:
    """One sentence, by the rule; none of it holds if the rule errs on a pair that is known."""
    rule = f"Rule: one patient if at least {LEAST_SETTLED:.0%} of the parts fit best where they lie, or fit mirrored"
    wrong = [one.pair for one in found if one.group in KNOWN and one.alike != KNOWN[one.group]]
    if wrong:
        return f"{rule}. It errs on pairs that are known ({'; '.join(wrong)}), so it decides nothing here."
    apart = [one.pair for one in found if one.brain_dice < LEAST_DICE]
    if apart:
        return f"{rule}. Brains that were not brought together ({'; '.join(apart)}) leave it open."
    asked = [one for one in found if one.group not in KNOWN]
    alike = [one.pair for one in asked if one.alike]
    if alike:
        return f"{rule}. Taken for one patient: {'; '.join(alike)}; train without these before scoring on them."
    most = max(one.settled_share for one in asked)
    least = min(one.settled_share for one in found if KNOWN.get(one.group))
    return (
        f"{rule}. None of the {len(asked)} cross-sectional and longitudinal pairs is of one patient: at most "
        f"{most:.0%} of the parts fit, against at least {least:.0%} where it is one patient."
    )


def _middle(mask: sitk.Image) -> np.ndarray:
    """Of what is not 0 (3,), RAS mm."""
    return apply_affine(affine_from_image(mask), np.argwhere(array_from_image(mask)).mean(axis=0))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1.0)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    sys.exit(main())
