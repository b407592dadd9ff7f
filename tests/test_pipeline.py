# SPDX-License-Identifier: Apache-2.0
"""The main job on the sample: the output contract, and what a user may do wrong."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import monai_microchange
from monai_microchange._frames import apply_affine, matrix_from_transform
from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import InputError
from monai_microchange.enums import VISITS, ChangeType, ResultFile
from monai_microchange.metrics import match_lesions
from monai_microchange.pipeline import compare, load_workflow
from monai_microchange.result import ChangeResult


def load(result: ChangeResult, name: str, **fields: str) -> nib.Nifti1Image:
    return nib.load(result.folder / name.format(**fields))


def truth_in_mid_space(result: ChangeResult, sample) -> np.ndarray:
    """The phantom's change map on the result's grid: anatomical grid -> baseline scan -> mid-space."""
    truth = nib.load(sample / "truth.nii.gz")
    facts = json.loads((sample / "truth.json").read_text())
    anatomy_to_baseline = np.asarray(facts["transforms"]["anatomy_to_baseline"])
    mid_to_truth = np.linalg.inv(truth.affine) @ np.linalg.inv(anatomy_to_baseline) @ result.space.mid_to_baseline
    index = np.indices(result.space.shape).reshape(3, -1).T
    at = np.rint(apply_affine(mid_to_truth @ result.space.affine, index)).astype(int)
    inside = ((at >= 0) & (at < truth.shape)).all(axis=1)
    labels = np.zeros(len(at), np.uint8)
    labels[inside] = np.asarray(truth.dataobj)[tuple(at[inside].T)]
    return labels.reshape(result.space.shape)


def test_every_file_of_the_contract_is_written(sample_result):
    bent = (ResultFile.WARP, ResultFile.INVERSE_WARP, ResultFile.JACOBIAN)
    names = {name.format(visit=visit) for name in ResultFile for visit in VISITS if name not in bent}
    written = {str(p.relative_to(sample_result.folder)) for p in sample_result.folder.rglob("*") if p.is_file()}
    assert written == names


def test_mid_space_files_share_one_grid_and_hold_the_result(sample_result):
    affine = sample_result.change.affine.numpy()
    for path in sorted((sample_result.folder / "mid").iterdir()):
        image = nib.load(path)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
        assert image.shape == sample_result.space.shape
        assert image.header.get_xyzt_units()[0] == "mm"
    change = np.asarray(load(sample_result, ResultFile.MID_CHANGE).dataobj)
    assert change.dtype == np.uint8
    np.testing.assert_array_equal(change, sample_result.change.numpy()[0])
    assert (change[sample_result.assessed.numpy()[0] == 0] == 0).all()


def test_native_maps_lie_on_the_grids_of_the_scans(sample_result, sample):
    for visit in VISITS:
        scan, change = nib.load(sample / f"{visit}.nii.gz"), load(sample_result, ResultFile.NATIVE_CHANGE, visit=visit)
        assert change.shape == scan.shape
        np.testing.assert_allclose(change.affine, scan.affine, atol=1e-4)
        assert set(np.unique(change.dataobj)) == set(np.unique(sample_result.change))


def test_transforms_resample_the_scans_into_mid_space(sample_result, sample):
    """Read with SimpleITK alone, as another program would."""
    for visit in VISITS:
        mid = sitk.ReadImage(str(sample_result.folder / ResultFile.MID_SCAN.format(visit=visit)))
        transform = sitk.ReadTransform(str(sample_result.folder / ResultFile.TRANSFORM.format(visit=visit)))
        scan = sitk.ReadImage(str(sample / f"{visit}.nii.gz"), sitk.sitkFloat32)
        moved = sitk.GetArrayFromImage(sitk.Resample(scan, mid, transform, sitk.sitkLinear))
        seen = moved > 0
        difference = np.abs(moved - sitk.GetArrayFromImage(mid))[seen]
        assert np.median(difference) < 0.01 * np.median(moved[seen])


def test_registration_finds_the_phantoms_motion(sample_result, sample):
    facts = json.loads((sample / "truth.json").read_text())
    matrices = {visit: np.asarray(facts["transforms"][f"anatomy_to_{visit}"]) for visit in VISITS}
    truth = matrices["followup"] @ np.linalg.inv(matrices["baseline"])
    found = sample_result.space.mid_to_followup @ np.linalg.inv(sample_result.space.mid_to_baseline)
    points = apply_affine(sample_result.space.affine, np.argwhere(sample_result.assessed.numpy()[0])[::501])
    points = apply_affine(sample_result.space.mid_to_baseline, points)
    error = np.linalg.norm(apply_affine(found, points) - apply_affine(truth, points), axis=1)
    assert error.mean() < 0.5


def test_change_of_every_type_is_found_where_it_was_planted(sample_result, sample):
    truth, change = truth_in_mid_space(sample_result, sample), sample_result.change.numpy()[0]
    for kind in ChangeType:
        matches = match_lesions(change == kind, truth == kind, spacing_mm=(1.0, 1.0, 1.0))
        assert len(matches.pairs) >= 1, kind.name


def test_table_has_a_row_for_each_lesion(sample_result):
    with open(sample_result.folder / ResultFile.TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == [lesion.id for lesion in sample_result.lesions]
    assert [row["type"] for row in rows] == [lesion.type_name for lesion in sample_result.lesions]
    assert {row["location"] for row in rows} <= {"periventricular", "juxtacortical", "infratentorial", "deep"}


def test_provenance_says_what_was_done_and_names_no_file(sample_result, sample):
    text = (sample_result.folder / ResultFile.PROVENANCE).read_text()
    facts = json.loads(text)
    assert facts["software"]["monai_microchange"] == monai_microchange.__version__
    assert len(facts["bundle"]["weights_sha256"]) == 64
    assert all(len(facts["inputs"][visit]["sha256"]["FLAIR"]) == 64 for visit in VISITS)
    assert facts["counts"] == sample_result.counts
    stages = {"reading", "anatomy", "alignment", "quality", "harmonisation", "network", "lesions"}
    assert set(facts["seconds"]) >= stages
    assert facts["peak_memory_mb"] > 100
    assert str(sample) not in text


def test_stated_transform_is_the_space_of_the_result(sample_result):
    for visit in VISITS:
        path = sample_result.folder / ResultFile.TRANSFORM.format(visit=visit)
        np.testing.assert_allclose(
            matrix_from_transform(sitk.ReadTransform(str(path))), sample_result.space.mid_to(visit), atol=1e-9
        )


def test_earlier_result_is_kept_without_overwrite(sample_result, sample):
    before = (sample_result.folder / ResultFile.PROVENANCE).read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), sample_result.folder)
    assert (sample_result.folder / ResultFile.PROVENANCE).read_bytes() == before


def test_folder_of_other_files_is_never_replaced(tmp_path, sample):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other files"):
        compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_failed_run_leaves_nothing_behind(tmp_path, sample):
    with pytest.raises(InputError, match=r"missing\.nii\.gz"):
        compare(str(sample / "baseline.nii.gz"), "missing.nii.gz", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roi": "liver"}, "roi: expected brain or none"),
        ({"device": "tpu"}, "device: expected auto, cpu or cuda"),
        ({"weights": "nothing.pt"}, r"nothing\.pt: expected a file with trained weights"),
        ({"bundle": "nowhere"}, "nowhere: expected a bundle"),
    ],
)
def test_wrong_options_are_refused(options, message, sample):
    with pytest.raises(InputError, match=message):
        compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), **options)


def test_weights_of_another_network_are_refused(tmp_path, sample):
    torch.save({"something": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="expected weights of MicroChangeNet"):
        compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), weights=tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("monai_microchange.quality.JudgePaird", "Identityd", "expected preprocessing with JudgePaird"),
        ('spacing_mm: "@spacing_mm", degrees', "max_inconsistency_mm: 2.0, degrees", "of this version; got one with"),
    ],
)
def test_bundle_of_another_version_is_refused(tmp_path, old, new, message):
    shutil.copytree(shipped_bundle(), tmp_path / "bundle", ignore=shutil.ignore_patterns("runs", "docs"))
    config = tmp_path / "bundle" / "configs" / "inference.yaml"
    text = config.read_text()
    assert old in text
    text = text.replace(old, new)
    config.write_text(text.replace('Identityd, force: "@force"', "Identityd, keys: baseline"))
    with pytest.raises(InputError, match=message):
        load_workflow(tmp_path / "bundle", {})


def test_modality_that_the_bundle_does_not_know_is_refused(sample):
    visits = [{"FLAIR": str(sample / f"{v}.nii.gz"), "T1": str(sample / f"{v}.nii.gz")} for v in VISITS]
    with pytest.raises(InputError, match="trained on FLAIR; got FLAIR, T1"):
        compare(*visits)


def test_same_file_twice_is_refused(sample, tmp_path):
    copy = shutil.copy(sample / "baseline.nii.gz", tmp_path / "copy.nii.gz")
    with pytest.raises(InputError, match="--allow-identical"):
        compare(str(sample / "baseline.nii.gz"), str(copy))
