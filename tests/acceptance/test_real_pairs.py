# SPDX-License-Identifier: Apache-2.0
"""The two real pairs with expert masks, each compared with the weights that never saw it."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_microchange._shipped import shipped_bundle
from monai_microchange.pipeline import compare

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from truth_grid import load_case, score_result

pytestmark = [pytest.mark.slow, pytest.mark.real]

ORACLE = {"patient01": (0.658, 0.182), "patient19": (0.480, 0.362)}
"""Dice and lesion F1 of the best of 96 subtraction settings a pair, chosen with the truth in hand; those of patient19
after N4 and local standardisation, which lifted both."""


def weights_of(patient):
    return shipped_bundle() / "models" / f"without_{patient}.pt"


@pytest.fixture(scope="module")
def compared(real_data, tmp_path_factory):
    """Both pairs, compared once: result and folder by patient."""
    results = {}
    for patient in ORACLE:
        scans = [str(real_data / "ljubljana_longitudinal" / patient / f"study{n}_FLAIR.nii.gz") for n in (1, 2)]
        folder = tmp_path_factory.mktemp(patient) / "result"
        results[patient] = compare(*scans, folder, weights=weights_of(patient))
    return results


@pytest.mark.parametrize("patient", list(ORACLE))
def test_better_than_the_subtraction_oracle_in_dice_or_f1(compared, real_data, patient, capsys):
    scores = score_result(load_case(real_data / "ljubljana_longitudinal" / patient), compared[patient].folder)
    with capsys.disabled():
        print(f"\n{patient}: Dice {scores.lesions.dice:.3f}, F1 {scores.lesions.f1:.3f}", end="")
    dice, f1 = ORACLE[patient]
    assert scores.lesions.dice > dice or scores.lesions.f1 > f1


@pytest.mark.parametrize("patient", list(ORACLE))
def test_metrics_agree_with_an_independent_script(compared, real_data, patient):
    path = real_data.parent / "score_pair.py"
    if not path.is_file():
        pytest.skip("score_pair.py is not beside the folder of the real scans")
    spec = importlib.util.spec_from_file_location("score_pair", path)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    case = real_data / "ljubljana_longitudinal" / patient
    expected = reference.score(str(case), str(compared[patient].folder))
    scores = score_result(load_case(case), compared[patient].folder)
    for mine, theirs in (("dice", "dice"), ("f1", "f1"), ("sensitivity", "sens"), ("precision", "prec")):
        assert getattr(scores.lesions, mine) == pytest.approx(expected[theirs], abs=1e-3)
    assert scores.registration_mm == pytest.approx(expected["registration_mm"], abs=0.05)


def test_swapping_the_visits_exchanges_the_types(compared, real_data):
    case = real_data / "ljubljana_longitudinal" / "patient01"
    forth = compared["patient01"]
    scans = [str(case / f"study{n}_FLAIR.nii.gz") for n in (2, 1)]
    back = compare(*scans, weights=weights_of("patient01"))
    np.testing.assert_allclose(back.change.affine, forth.change.affine, atol=1e-6)
    one, other = forth.change.numpy()[0], back.change.numpy()[0]
    exchanged = np.where(other > 0, 5 - other.astype(int), 0)
    changed = (one > 0) | (exchanged > 0)
    assert (one == exchanged)[changed].mean() >= 0.99
