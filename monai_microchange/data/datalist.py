# SPDX-License-Identifier: Apache-2.0
"""Lists of labelled pairs: two visits and what truly changed between them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from monai_microchange._frames import matrix_from_transform
from monai_microchange._shipped import shipped_sample
from monai_microchange.data.errors import InputError
from monai_microchange.data.volume import read_volume
from monai_microchange.enums import VISITS, ChangeType

__all__ = ["LabelledPair", "read_datalist", "read_label", "sample_datalist"]

MASK_KEYS = ("brain_mask", "baseline_lesion", "followup_lesion")
PATH_KEYS = (*VISITS, *MASK_KEYS, "label", "label_to_baseline")


@dataclass(frozen=True, eq=False)
class LabelledPair:
    """Two visits and what truly changed between them. `read_datalist` makes these.

    Attributes:
        name: of the case; its result goes into a folder of this name.
        baseline: scan, as `compare` takes it.
        followup: the same of the later visit.
        label: file with a change map on any grid: 1 new, 2 enlarging, 3 shrinking, 4 resolved.
        label_to_baseline: (4, 4), points of the label to points of the baseline scan, RAS mm; identity where the label
            lies in the baseline's space.
        signed: False for a label that only says that something changed (above 0), not in which direction.
        brain_mask: mask file in the baseline's space.
        baseline_lesion: lesion mask in the baseline's space.
        followup_lesion: lesion mask in the follow-up's space.
    """

    name: str
    baseline: Any
    followup: Any
    label: str | Path
    label_to_baseline: np.ndarray = field(default_factory=lambda: np.eye(4))
    signed: bool = True
    brain_mask: str | Path | None = None
    baseline_lesion: str | Path | None = None
    followup_lesion: str | Path | None = None

    @property
    def pair(self) -> dict[str, Any]:
        """What is compared: the visits and the user's masks."""
        return {key: getattr(self, key) for key in (*VISITS, *MASK_KEYS)}


def sample_datalist() -> list[dict[str, str]]:
    """The labelled pair that comes with the package, as `read_datalist` takes it.

    >>> [case["name"] for case in sample_datalist()]
    ['ms_flair_pair']
    """
    folder = shipped_sample()
    scans = {visit: str(folder / f"{visit}.nii.gz") for visit in VISITS}
    truth = {"label": str(folder / "truth.nii.gz"), "label_to_baseline": str(folder / "truth.json")}
    return [{"name": folder.name, **scans, **truth}]


def read_datalist(datalist: str | Path | Sequence[Mapping[str, Any]]) -> list[LabelledPair]:
    """Check a list of labelled pairs and read where their labels lie.

    Args:
        datalist: mappings with the attributes of `LabelledPair` as keys, or a JSON file with a list of such, whose
            relative paths start from its own folder. Only `baseline`, `followup` and `label` must be there; a case
            without a name is called by its number. `label_to_baseline` is a matrix, or a file that holds it: an ITK
            transform (LPS; the one that resamples the baseline onto the label's grid), JSON with the matrix, or a
            phantom's `truth.json`.

    Raises:
        InputError: if there is no case, a key is missing or unknown, a label or a transform cannot be read, or two
            cases have one name.

    Example:
        >>> read_datalist([])
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: datalist: expected a list of pairs, got '[]'; give at least one.
    """
    root = Path()
    if isinstance(datalist, str | Path):
        root = Path(datalist).parent
        datalist = _read_json(Path(datalist))
    if not isinstance(datalist, Sequence) or isinstance(datalist, str) or not datalist:
        raise InputError(f"datalist: expected a list of pairs, got {str(datalist)[:60]!r}; give at least one.")
    cases = [_case(entry, number, root) for number, entry in enumerate(datalist, start=1)]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"datalist: expected a name of its own for each case, got {', '.join(twice)} twice; rename one."
        )
    return cases


def read_label(case: LabelledPair) -> MetaTensor:
    """The change map of a case, (1, I, J, K), float32, with its affine; all of an unsigned one is called NEW.

    Raises:
        InputError: if the file cannot be read, or a signed one holds values that no `ChangeType` has.
    """
    label = read_volume(case.label, allow_constant=True)
    if not case.signed:
        return MetaTensor((label.as_tensor() > 0).float() * int(ChangeType.NEW), affine=label.affine)
    unknown = sorted(set(np.unique(label.numpy()).tolist()) - {0.0, *map(float, ChangeType)})
    if unknown:
        raise InputError(
            f"{case.label}: expected a change map of 0 to {len(ChangeType)}, got the value {unknown[0]:g}; for a mask "
            "that only says that something changed give signed: false."
        )
    return label


def _case(entry: Any, number: int, root: Path) -> LabelledPair:
    what = f"datalist, case {number}"
    if not isinstance(entry, Mapping) or not {*VISITS, "label"} <= set(entry):
        got = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else repr(entry)
        raise InputError(f"{what}: expected baseline, followup, label, got {got}; give all three.")
    unknown = sorted(set(entry) - {one.name for one in fields(LabelledPair)})
    if unknown:
        raise InputError(f"{what}: expected the keys that LabelledPair has, got {', '.join(unknown)}; correct it.")
    given = {key: _from_root(value, root) if key in PATH_KEYS else value for key, value in entry.items()}
    name = str(given.pop("name", f"case{number}"))
    if name in (".", "..") or Path(name).name != name:
        raise InputError(f"{what}: expected a name that a folder can have, got {name!r}; choose another.")
    given["label_to_baseline"] = _matrix(given.get("label_to_baseline"), what)
    if not Path(given["label"]).is_file():
        raise InputError(f"{what}: {given['label']}: expected a change map, but there is none; check the path.")
    return LabelledPair(name=name, **given)


def _from_root(value: Any, root: Path) -> Any:
    """Paths, and modalities' paths, as seen from the folder of the list; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: _from_root(one, root) for key, one in value.items()}
    return str(root / value) if isinstance(value, str | Path) else value


def _matrix(given: Any, what: str) -> np.ndarray:
    """Matrix (4, 4), RAS mm, of what a case says of its label's place."""
    if given is None:
        return np.eye(4)
    source = f"{what}: label_to_baseline"
    if isinstance(given, str):
        source, path = f"{what}: {given}", Path(given)
        given = _read_json(path) if path.suffix == ".json" else _read_itk_matrix(path)
        if isinstance(given, Mapping):
            given = given.get("transforms", {}).get("anatomy_to_baseline")
    try:
        matrix = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise InputError(
            f"{source}: expected an invertible matrix (4, 4) in RAS mm, got {str(given)[:60]}; correct it."
        )
    return matrix


def _read_itk_matrix(path: Path) -> np.ndarray:
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: expected an ITK transform file, but it cannot be read; check the path.") from error
    if not transform.IsLinear():
        raise InputError(f"{path}: expected a linear transform, got {transform.GetName()}; move the label first.")
    return matrix_from_transform(transform)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON file, but it cannot be read ({error}); check it.") from error
