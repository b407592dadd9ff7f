# SPDX-License-Identifier: Apache-2.0
"""Which weights each patient is scored with, and the refusal to score what they learnt from."""

import json
from collections.abc import Sequence
from pathlib import Path

from monai_microchange.enums import ResultFile
from monai_microchange.evaluation.trained_on import record_is_complete
from monai_microchange.networks.weights import file_sha256, training_record
from monai_microchange.training.inputs import hash_inputs

__all__ = ["check_confidence", "check_held_out", "check_made_with", "learnt_files", "weights_of_patients"]


def weights_of_patients(given: Sequence[str], patients: Sequence[str]) -> dict[str, Path]:
    """The weights of each patient.

    Args:
        given: one FILE for all, or PATIENT=FILE for each of them.
        patients: all that are to be scored.

    Raises:
        ValueError: if a patient has no weights, or several.

    Example:
        >>> weights_of_patients(["b=fold1.pt", "a=fold0.pt"], ["a", "b"])["a"].name
        'fold0.pt'
    """
    chosen: dict[str, Path] = {}
    for one in given:
        patient, found, path = one.partition("=")
        named = found and patient in patients
        for name in [patient] if named else patients:
            if name in chosen:
                raise ValueError(
                    f"--weights: expected one file for {name}, got {chosen[name]} and {one}; leave one out."
                )
            chosen[name] = Path(path if named else one)
    missing = [patient for patient in patients if patient not in chosen]
    if missing:
        raise ValueError(f"--weights: expected a file for {', '.join(missing)}, got none; add {missing[0]}=FILE.")
    return {patient: chosen[patient] for patient in patients}


def check_held_out(case: Path, weights: Path, *, allow_unknown: bool = False) -> None:
    """Refuse weights that learnt from a patient, or do not say what they learnt from.

    A scan that was stored anew, and another scan of the same patient, are not recognised: see `same_patient.py`.

    Args:
        case: the patient's folder.
        weights: file with them.
        allow_unknown: take weights that do not name all of their training inputs.

    Raises:
        FileNotFoundError: if there is no such file, or no scan in the folder.
        ValueError: if the weights are refused, or the file holds none.
    """
    learnt = learnt_files(case, weights)
    if learnt:
        raise ValueError(
            f"{case.name}: expected weights that have not seen this patient, but {weights} learnt from "
            f"{', '.join(learnt)}; give those of the fold that held the patient out by --weights {case.name}=FILE."
        )
    if not allow_unknown and not record_is_complete(weights):
        raise ValueError(
            f"{case.name}: expected weights that name everything they learnt from, but {weights} does not; "
            "give others, or say --allow-unknown-training."
        )


def learnt_files(case: Path, weights: Path) -> list[str]:
    """Images of a patient's folder, of any contrast and masks too, that weights name among what they learnt from."""
    images = sorted(case.glob("*.nii.gz"))
    if not images:
        raise FileNotFoundError(f"{case}: expected the scans of a patient, found none; check --data and --patients.")
    record = training_record(weights)
    learnt = set(record["inputs"].values()) if record else set()
    return [name for name, digest in hash_inputs([{"images": images}], case).items() if digest in learnt]


def check_made_with(result: Path, weights: Path, *, allow_unknown: bool = False) -> None:
    """Refuse a result that was made with other weights than those that were checked.

    Raises:
        ValueError: if it was, or, unless unknown weights are allowed, does not say.
    """
    made_with = json.loads((result / ResultFile.PROVENANCE).read_text()).get("bundle", {}).get("weights_sha256")
    if made_with is None and allow_unknown:
        return
    if made_with != file_sha256(weights):
        kind = "unknown" if made_with is None else "other"
        raise ValueError(
            f"{result}: expected a result of {weights}, got one of {kind} weights "
            f"(SHA-256 {str(made_with)[:12]}); name the right ones by --weights, or run it anew."
        )


def check_confidence(result: Path) -> None:
    """Refuse a result whose confidence was fitted to other weights: scans of this patient may have taken part in it.

    Raises:
        ValueError: if it was.
    """
    point = json.loads((result / ResultFile.PROVENANCE).read_text()).get("operating_point") or {}
    if "other weights" in point.get("confidence", ""):
        raise ValueError(
            f"{result.name}: expected weights with a confidence of their own beside them, got one of other weights; "
            "fit it with lesion_confidence.py."
        )
