# SPDX-License-Identifier: Apache-2.0
"""Pairs that must be refused, pairs that must be accepted, and what the package's gate says of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from _registration_cases import CASES, draw_case
from _registration_measures import SUCCESS_MM, markdown_table, point_errors_mm
from _registration_methods import SEED, brain_masks
from _registration_sources import LONGITUDINAL, Source, load_source
from monai.data import MetaTensor
from rich.table import Table
from scipy.spatial.transform import Rotation

from monai_microchange._frames import affine_from_image, apply_affine, array_from_image, matrix_from_transform
from monai_microchange.transforms import AlignMidSpaced
from monai_microchange.transforms.registration import register_pair

__all__ = ["GatePair", "gate_pairs", "gate_table", "judge", "overlap_table"]

VISITS_OF_PATIENTS = {
    "patient01": (1, 2),
    "patient04": (1,),
    "patient09": (2,),
    "patient19": (1, 2),
    "patient20": (2,),
}
OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Share of the brain's height that both halves of a head show."""
GROUPS = ("two patients", "mirror image", "half-overlapping", "one patient", "synthetic")


@dataclass(frozen=True)
class GatePair:
    """Two scans and what is known of them.

    Attributes:
        group: one of `GROUPS`.
        name: of the pair.
        baseline: (1, I, J, K) with its affine to RAS mm.
        followup: likewise.
        truth: baseline to follow-up (4, 4), RAS mm; None where there is none.
        points_mm: (N, 3), RAS mm of the baseline, that the truth is judged at.
        overlap: share of the brain's height that both show, of `half-overlapping` ones.
        is_head: a brain can be looked for.
    """

    group: str
    name: str
    baseline: MetaTensor
    followup: MetaTensor
    truth: np.ndarray | None = None
    points_mm: np.ndarray | None = None
    overlap: float | None = None
    is_head: bool = True


def gate_pairs(root: Path, split: str, cases: int = CASES) -> Iterator[GatePair]:
    """All pairs, made as they are asked for."""
    names = {
        f"{patient}-{visit}": f"{LONGITUDINAL}/{patient}/study{visit}_FLAIR.nii.gz"
        for patient, visits in VISITS_OF_PATIENTS.items()
        for visit in visits
    }
    scans = {name: _as_tensor(load_source(root, path).images["FLAIR"]) for name, path in names.items()}
    for one, other in combinations(scans, 2):
        if one.split("-")[0] != other.split("-")[0]:
            yield GatePair("two patients", f"{one} {other}", scans[one], scans[other])
    for name, scan in scans.items():
        yield GatePair("mirror image", name, scan, MetaTensor(scan.as_tensor().flip(1), affine=scan.affine))
    true_pairs = [_true_pair(root, patient, scans) for patient in ("patient01", "patient19")]
    for overlap in OVERLAPS:
        for path in names.values():
            source = load_source(root, path)
            yield _two_halves(source, source, overlap, np.eye(4))
        for pair in true_pairs:
            visits = [load_source(root, names[f"{pair.name}-{visit}"]) for visit in (1, 2)]
            yield _two_halves(*visits, overlap, pair.truth)
    yield from true_pairs
    for number in range(cases):
        case = draw_case(number, split, root)
        yield GatePair(
            "synthetic",
            f"{split} {number}",
            case.baseline,
            case.followup,
            case.baseline_to_followup,
            case.brain_points_mm,
            is_head=not case.description.startswith("ct"),
        )


def judge(pair: GatePair, *, in_brain: bool) -> dict:
    """What the gate says of a pair: a record with `accepted`, the reason if not, and the measures behind it.

    Args:
        pair: two scans.
        in_brain: find the brains first and register them, as the pipeline does; else the heads.
    """
    record = {"case": f"{pair.group}: {pair.name}", "method": "brain" if in_brain else "head", "group": pair.group}
    record |= {"overlap_of_halves": pair.overlap, "accepted": False}
    scans = {"baseline": pair.baseline, "followup": pair.followup}
    try:
        masks = {f"{visit}_mask": mask for visit, mask in (brain_masks(scans) if in_brain else {}).items()}
        found = register_pair(pair.baseline, pair.followup, seed=SEED, **masks)
    except ValueError as error:
        return record | {"reason": str(error)}
    reason = AlignMidSpaced().doubt(found, is_head=pair.is_head)
    record |= {"accepted": reason is None, "reason": reason or ""}
    record |= {name: value for name, value in vars(found).items() if isinstance(value, (bool, float))}
    if pair.truth is not None:
        record["mean_mm"] = float(point_errors_mm(found.baseline_to_followup, pair.truth, pair.points_mm).mean())
    return record


def gate_table(records: Sequence[dict]) -> Table:
    """A row a group and way: how many were refused, and what was accepted although it lies wrong."""
    rows = []
    for group in GROUPS:
        for way in dict.fromkeys(r["method"] for r in records):
            own = [r for r in records if (r["group"], r["method"]) == (group, way)]
            if not own:
                continue
            accepted = [r for r in own if r["accepted"]]
            wrong = [r for r in accepted if r.get("mean_mm", 0.0) >= SUCCESS_MM]
            must = {"two patients": "refuse", "mirror image": "refuse", "half-overlapping": "refuse or be right"}
            names = [r["case"].split(": ")[1] for r in (_mistakes(own, group))]
            rows.append(
                [
                    group,
                    way,
                    must.get(group, "accept"),
                    str(len(own)),
                    str(len(own) - len(accepted)),
                    str(len(wrong)),
                    ", ".join(names) or "none",
                ]
            )
    return markdown_table(["pairs", "judged in", "must", "n", "refused", "accepted but wrong", "mistakes"], rows)


def _mistakes(records: Sequence[dict], group: str) -> list[dict]:
    if group in ("two patients", "mirror image"):
        return [r for r in records if r["accepted"]]
    wrong = [r for r in records if r["accepted"] and r["mean_mm"] >= SUCCESS_MM]
    if group == "half-overlapping":
        return wrong
    return wrong + [r for r in records if not r["accepted"]]


def overlap_table(records: Sequence[dict]) -> Table:
    """For halves of heads, a row an overlap and way: how many were accepted, and the worst error among these."""
    rows = []
    halves = [r for r in records if r["group"] == "half-overlapping"]
    for overlap in sorted({r["overlap_of_halves"] for r in halves}):
        for way in dict.fromkeys(r["method"] for r in halves):
            own = [r for r in halves if (r["overlap_of_halves"], r["method"]) == (overlap, way)]
            errors = [r["mean_mm"] for r in own if r["accepted"]]
            worst = f"{max(errors):.2f}" if errors else "–"
            rows.append([f"{overlap:.0%}", way, f"{len(errors)}/{len(own)}", worst])
    return markdown_table(["shared height of the brain", "judged in", "accepted", "worst error of these, mm"], rows)


def _two_halves(lower: Source, upper: Source, overlap: float, lower_to_upper: np.ndarray) -> GatePair:
    """The lower part of a head against the upper part of another scan of it, or of the same scan.

    Both get noise of their own, and the header of the upper one is moved a little.

    Args:
        lower: scan with its brain; slices along its third axis, upwards.
        upper: likewise.
        overlap: share of the brain's height that both show.
        lower_to_upper: the truth (4, 4), RAS mm.
    """
    names = list(dict.fromkeys(_short(source.name) for source in (lower, upper)))
    rng = np.random.default_rng([int(100 * overlap), *"".join(names).encode()])
    move = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec(np.radians(rng.uniform(-5, 5, 3))).as_matrix()
    move[:3, 3] = rng.uniform(-8, 8, 3)
    parts = [
        _part(rng, lower, header=np.eye(4), share=(1 + overlap) / 2, from_below=True),
        _part(rng, upper, header=move, share=(1 + overlap) / 2, from_below=False),
    ]
    truth = move @ lower_to_upper
    points = apply_affine(affine_from_image(lower.brain), np.argwhere(array_from_image(lower.brain))[::97])
    for part, to_part in zip(parts, (np.eye(4), truth), strict=True):
        index = apply_affine(np.linalg.inv(part.affine.numpy()) @ to_part, points)
        points = points[((index >= -0.5) & (index <= np.asarray(part.shape[1:]) - 0.5)).all(axis=1)]
    return GatePair("half-overlapping", f"{' '.join(names)} {overlap:.0%}", *parts, truth, points, overlap)


def _part(
    rng: np.random.Generator, source: Source, *, header: np.ndarray, share: float, from_below: bool
) -> MetaTensor:
    """The slices of a scan up to a share of the brain's height, from below or from above, with noise."""
    scan, brain = _as_tensor(source.images["FLAIR"]), array_from_image(source.brain) > 0
    low, high = np.flatnonzero(brain.any(axis=(0, 1)))[[0, -1]] + [0, 1]
    shown = round(share * (high - low))
    start, end = (0, low + shown) if from_below else (high - shown, scan.shape[3])
    begins = np.eye(4)
    begins[2, 3] = start
    values = scan.numpy()[..., start:end]
    spread = 0.03 * float(np.percentile(scan.numpy()[0][brain], 99))
    noisy = torch.from_numpy((values + rng.normal(0, spread, values.shape)).astype(np.float32))
    return MetaTensor(noisy, affine=torch.from_numpy(header @ scan.affine.numpy() @ begins))


def _true_pair(root: Path, patient: str, scans: dict[str, MetaTensor]) -> GatePair:
    """Both visits of a patient; the truth is the data set's estimate."""
    folder = root / LONGITUDINAL / patient
    to_scans = [
        matrix_from_transform(sitk.ReadTransform(str(folder / f"study{visit}_FLAIR_to_common_space.txt")))
        for visit in (1, 2)
    ]
    mask = sitk.ReadImage(str(folder / "brainmask.nii.gz"))
    common = apply_affine(affine_from_image(mask), np.argwhere(array_from_image(mask) > 0)[::211])
    truth = to_scans[1] @ np.linalg.inv(to_scans[0])
    visits = scans[f"{patient}-1"], scans[f"{patient}-2"]
    return GatePair("one patient", patient, *visits, truth, apply_affine(to_scans[0], common))


def _short(path: str) -> str:
    """As `patient01-2`."""
    patient, file = path.split("/")[-2:]
    return f"{patient}-{file.removeprefix('study')[0]}"


def _as_tensor(image: sitk.Image) -> MetaTensor:
    return MetaTensor(
        torch.from_numpy(array_from_image(image))[None], affine=torch.from_numpy(affine_from_image(image))
    )
