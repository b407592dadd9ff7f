# SPDX-License-Identifier: Apache-2.0
"""Pairs: what can be compared, what is refused, and the dictionary transform."""

import pickle

import numpy as np
import pytest
from monai.transforms import Compose

from monai_microchange.data import InputError, ReadPaird, read_pair


def grid(spacing=4.0, shape=(12, 10, 8), seed=0):
    """Random scan of this shape, and its affine."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32), np.diag([*np.broadcast_to(spacing, 3), 1])


@pytest.fixture
def make_pair(tmp_path, save_nifti):
    """Two NIfTI paths of the given (array, affine) grids."""

    def make(baseline=None, followup=None):
        return (
            save_nifti(tmp_path / "baseline.nii.gz", *(baseline or grid(seed=1))),
            save_nifti(tmp_path / "followup.nii.gz", *(followup or grid(seed=2))),
        )

    return make


@pytest.fixture
def make_dicom_pair(tmp_path, write_dicom_series, scan, affine):
    """Two DICOM folders that differ in the given header values."""

    def make(first, second):
        write_dicom_series(tmp_path / "a", scan, affine, **first)
        write_dicom_series(tmp_path / "b", scan + 1, affine, **second)
        return tmp_path / "a", tmp_path / "b"

    return make


def test_reads_a_pair(make_pair):
    pair = read_pair(*make_pair())
    assert pair.baseline.shape == pair.followup.shape == (12, 10, 8)
    assert pair.baseline.sha256 != pair.followup.sha256
    assert (pair.interval_days, pair.warnings) == (None, ())


@pytest.mark.real
@pytest.mark.parametrize("patient", ["patient01", "patient19"])
def test_real_pairs_pass(real_data, patient):
    folder = real_data / "ljubljana_longitudinal" / patient
    pair = read_pair(folder / "study1_FLAIR.nii.gz", folder / "study2_FLAIR.nii.gz")
    assert pair.warnings == ()


@pytest.mark.real
def test_real_reconstructions_pass(real_data):
    pair = read_pair(*(real_data / "no_change_dicom" / name for name in ("recon_a", "recon_b")))
    assert pair.interval_days == 0
    assert pair.warnings == ()
    np.testing.assert_allclose(pair.baseline.affine, pair.followup.affine, atol=1e-3)


@pytest.mark.parametrize(
    ("baseline", "followup"),
    [
        (grid((1, 1, 4), (40, 40, 10)), grid(1.0, (40, 40, 40))),
        (grid((0.7, 0.7, 6), (60, 60, 8)), grid(0.7, (60, 60, 60))),
        (grid(4.0, (40, 40, 40)), grid(4.0, (40, 40, 8))),
    ],
    ids=["4 mm slices against 1 mm", "6 mm slices against 0.7 mm", "slab against head"],
)
def test_unlike_pairs_that_pass(make_pair, baseline, followup):
    assert read_pair(*make_pair(baseline, followup)).warnings == ()


@pytest.mark.parametrize(
    ("followup", "match"),
    [
        (grid(12.0), r"followup FLAIR: expected voxels up to 10 mm, got 12 x 12 x 12 mm"),
        (grid(0.3, (100, 100, 100)), "expected spacings within a factor of 10"),
        (grid(4.0, (40, 40, 40)), "expected fields of view within a factor of 8"),
        (grid(4.0, (12, 10, 7)), "expected an extent of 30 mm or more, got 48 x 40 x 28 mm"),
    ],
)
def test_refuses_incomparable(make_pair, followup, match):
    with pytest.raises(InputError, match=match):
        read_pair(*make_pair(followup=followup))
    with pytest.raises(InputError, match=match.replace("followup", "baseline")):
        read_pair(*reversed(make_pair(followup=followup)))


def test_identical(make_pair):
    path = make_pair()[0]
    copy = path.with_name("copy.nii.gz")
    copy.write_bytes(path.read_bytes())
    for second in (path, copy):
        with pytest.raises(InputError, match=r"same FLAIR twice.*--allow-identical"):
            read_pair(path, second)
        assert read_pair(path, second, allow_identical=True).baseline.sha256


def test_identical_second_modality(make_pair):
    first, second = make_pair()
    with pytest.raises(InputError, match="same T1 twice"):
        read_pair({"FLAIR": first, "T1": first}, {"FLAIR": second, "T1": first})


def test_modalities(make_pair):
    a, b = make_pair()
    pair = read_pair({"FLAIR": a, "T1": b, "T2": a}, {"FLAIR": b, "T2": b, "T1": a})
    assert list(pair.baseline.images) == list(pair.followup.images) == ["FLAIR", "T1", "T2"]
    for followup in (b, {"T1": b, "FLAIR": b}):
        with pytest.raises(InputError, match="expected the same modalities at both visits"):
            read_pair({"FLAIR": a, "T1": a}, followup)


def test_scanner_kinds(make_dicom_pair):
    paths = make_dicom_pair({}, {"change": lambda k, data: setattr(data, "Modality", "CT")})
    with pytest.raises(InputError, match="baseline: MR and followup: CT"):
        read_pair(*paths)


def test_interval(make_dicom_pair):
    paths = make_dicom_pair({"date": "20240131"}, {"date": "20250131"})
    pair = read_pair(*paths)
    assert pair.interval_days == 366  # 29 February 2024 lies between
    assert pair.warnings == ()


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        ({"patient_id": "ANNA"}, {"patient_id": "BERTA"}, "different patients"),
        ({"date": "20240131"}, {"date": "20240121"}, "followup is dated 10 days before baseline"),
    ],
)
def test_refused_unless_forced(make_dicom_pair, first, second, match):
    paths = make_dicom_pair(first, second)
    with pytest.raises(InputError, match=f"{match}.*--force") as caught:
        read_pair(*paths)
    (warning,) = read_pair(*paths, force=True).warnings
    assert match in warning
    for text in (str(caught.value), warning):
        assert "ANNA" not in text
        assert "BERTA" not in text


def test_series_options(make_dicom_pair):
    baseline, _ = make_dicom_pair({"number": 3}, {"number": 4})
    study = baseline.parent
    assert read_pair(study, study, baseline_series=3, followup_series="4").baseline.source == study
    with pytest.raises(InputError, match=r"followup: .*name one by UID"):
        read_pair(baseline, study)


def test_transform(make_pair):
    a, b = make_pair()
    data = {"baseline": {"FLAIR": a, "T1": b}, "followup": {"FLAIR": b, "T1": a}, "case": "x", "mask": 3}
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    result = Compose([ReadPaird()])(data)
    assert data == before
    assert sorted(result) == ["baseline", "baseline+T1", "case", "followup", "followup+T1", "mask", "pair"]
    assert (result["case"], result["mask"]) == ("x", 3)
    np.testing.assert_array_equal(result["baseline+T1"], result["followup"])
    np.testing.assert_array_equal(result["baseline"], result["pair"].baseline.reference)
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again["baseline"], result["baseline"])


def test_transform_passes_its_options_on(make_dicom_pair):
    baseline, followup = make_dicom_pair({"patient_id": "A"}, {"patient_id": "B"})
    data = {"baseline": baseline.parent, "followup": baseline.parent}
    with pytest.raises(InputError, match="found 2"):
        ReadPaird()(data)
    data = {"baseline": baseline, "followup": followup}
    assert len(ReadPaird(force=True, pair_key="p")(data)["p"].warnings) == 1
    same = {"baseline": baseline, "followup": baseline}
    assert ReadPaird(allow_identical=True, modality="T2")(same)["pair"].baseline.images.keys() == {"T2"}
    with pytest.raises(KeyError, match="followup"):
        ReadPaird()({"baseline": baseline})
