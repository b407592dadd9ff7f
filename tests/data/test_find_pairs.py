# SPDX-License-Identifier: Apache-2.0
"""Pairs found in folders: which scans, in which order, with which label; and what is said of the rest."""

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange.data import InputError
from monai_microchange.data.faults import FaultKind
from monai_microchange.data.find_pairs import find_pairs
from monai_microchange.data.plain_folders import find_plain_patients
from monai_microchange.export import write_nifti


def make(root, *names):
    """Empty files: their names are all that is looked at."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def flair(subject, *sessions, more=""):
    return [f"sub-{subject}/ses-{one}/anat/sub-{subject}_ses-{one}{more}_FLAIR.nii.gz" for one in sessions]


def label(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.array([0, *values, *[0] * (7 - len(values))], np.uint8).reshape(2, 2, 2), np.eye(4))


def steps(found):
    """Names of the visits of each pair."""
    return [(case.baseline.parent.parent.name, case.followup.parent.parent.name) for case in found.cases]


def kinds(found):
    return [fault.kind for fault in found.faults]


def write_sessions(root, subject, **dates):
    rows = ["session_id\tacq_time", *(f"ses-{name}\t{date}" for name, date in dates.items())]
    (root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv").write_text("\n".join(rows) + "\n")


class TestBids:
    def test_consecutive_sessions_in_the_order_of_their_numbers(self, tmp_path):
        make(tmp_path, *flair("1", "10", "2", "1"), "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz")
        found = find_pairs(tmp_path)
        assert steps(found) == [("ses-1", "ses-2"), ("ses-2", "ses-10")]
        assert [case.name for case in found.cases] == ["sub-1_ses-1_ses-2", "sub-1_ses-2_ses-10"]
        assert {case.patient for case in found.cases} == {"sub-1"}
        assert found.faults == ()
        spans = find_pairs(tmp_path, first_to_last=True)
        assert steps(spans)[2:] == [("ses-1", "ses-10")]

    def test_dates_come_before_names(self, tmp_path):
        make(tmp_path, *flair("1", "a", "b", "c"))
        write_sessions(tmp_path, "1", a="2021-03-02", b="2020-01-01T10:00:00", c="2020-06-01")
        found = find_pairs(tmp_path)
        assert steps(found) == [("ses-b", "ses-c"), ("ses-c", "ses-a")]
        assert [case.interval_days for case in found.cases] == [152, 274]
        assert found.faults == ()

    def test_dates_against_numbers_are_an_error(self, tmp_path):
        make(tmp_path, *flair("1", "01", "02"))
        write_sessions(tmp_path, "1", **{"01": "2021-03-02", "02": "2020-03-02"})
        found = find_pairs(tmp_path)
        assert kinds(found) == [FaultKind.DATE_ORDER]
        assert found.faults[0].cases == ("sub-1",)
        assert "got ses-02, ses-01 by date" in str(found.faults[0])

    def test_a_date_that_is_none_is_an_error(self, tmp_path):
        make(tmp_path, *flair("1", "01", "02"))
        write_sessions(tmp_path, "1", **{"01": "n/a", "02": "spring"})
        (fault,) = find_pairs(tmp_path).faults
        assert (fault.kind, fault.is_error) == (FaultKind.BAD_TABLE, True)

    @pytest.mark.parametrize(
        ("first", "later"),
        [
            ("baseline", "followup"),
            ("pre1", "post1"),
            ("pre2", "post1"),
            ("bl", "m06"),
            ("followup", "followup2"),
            ("6mo", "12mo"),
            ("M09", "M10"),
            ("20191231", "20200101"),
            ("v2r1", "v10r1"),
        ],
    )
    def test_names_that_tell_the_order(self, tmp_path, first, later):
        make(tmp_path, *flair("1", later, first))
        found = find_pairs(tmp_path)
        assert steps(found) == [(f"ses-{first}", f"ses-{later}")]
        assert found.faults == ()

    @pytest.mark.parametrize(
        "names",
        [
            ("x", "a"),
            ("6mo", "1y"),
            ("28012020", "15022020"),
            ("1234", "1235"),
            ("20200131", "2"),
            ("baseline", "pre"),
            ("baseline", "rescan"),
            ("1", "followup"),
        ],
    )
    def test_an_order_that_is_a_guess_is_an_error(self, tmp_path, names):
        make(tmp_path, *flair("1", *names))
        (fault,) = find_pairs(tmp_path).faults
        assert (fault.kind, fault.is_error, fault.cases) == (FaultKind.VISIT_ORDER, True, ("sub-1",))
        assert "acq_time in sub-1_sessions.tsv" in str(fault)
        write_sessions(tmp_path, "1", **dict(zip(names, ("2020-01-31", "2020-01-31"), strict=True)))
        assert kinds(find_pairs(tmp_path)) == [FaultKind.VISIT_ORDER]
        write_sessions(tmp_path, "1", **dict(zip(names, ("2020-02-01", "2020-01-31"), strict=True)))
        found = find_pairs(tmp_path)
        assert steps(found) == [(f"ses-{names[1]}", f"ses-{names[0]}")]
        assert found.faults == ()

    def test_a_table_with_an_endless_field_is_an_error(self, tmp_path):
        make(tmp_path, *flair("1", "1", "2"))
        write_sessions(tmp_path, "1", **{"1": "2020" * 40_000})
        (fault,) = find_pairs(tmp_path).faults
        assert (fault.kind, fault.is_error) == (FaultKind.BAD_TABLE, True)
        assert "it cannot be read (field larger than field limit" in str(fault)

    def test_labels_go_to_the_pair_that_ends_with_their_session(self, tmp_path):
        make(tmp_path, *flair("1", "1", "2", "3"), *flair("2", "1", "2"))
        anat = tmp_path / "derivatives/rater/sub-1/ses-3/anat"
        label(anat / "sub-1_ses-3_label-change_mask.nii.gz", 1)
        label(tmp_path / "sub-2/anat/sub-2_desc-changes_dseg.nii.gz", 1)
        make(anat, "sub-1_ses-3_label-ignore_mask.nii.gz", "sub-1_ses-2_desc-brain_mask.nii.gz")
        make(anat, "sub-1_ses-3_label-lesion_mask.nii.gz", "sub-1_ses-3_space-MNI_label-lesion_mask.nii.gz")
        first, second, other = find_pairs(tmp_path).cases
        assert not first.labelled
        assert second.label == anat / "sub-1_ses-3_label-change_mask.nii.gz"
        assert second.ignore == anat / "sub-1_ses-3_label-ignore_mask.nii.gz"
        assert second.brain_mask == anat / "sub-1_ses-2_desc-brain_mask.nii.gz"
        assert (second.baseline_lesion, second.followup_lesion) == (
            None,
            anat / "sub-1_ses-3_label-lesion_mask.nii.gz",
        )
        assert other.labelled

    @pytest.mark.parametrize(
        ("space", "ignore_space", "place", "wrong"),
        [
            ("", "", False, []),
            ("_space-orig", "", False, []),
            ("_space-01", "_space-baseline", False, []),
            ("_space-02", "_space-02", False, ["label"]),
            ("_space-MNI152", "_space-MNI152", False, ["label"]),
            ("_space-MNI152", "_space-MNI152", True, []),
            ("_space-MNI152", "", True, ["ignore"]),
            ("", "_space-MNI152", False, ["ignore"]),
        ],
    )
    def test_masks_in_another_space_need_a_transform(self, tmp_path, space, ignore_space, place, wrong):
        make(tmp_path, *flair("1", "01", "02"))
        anat = tmp_path / "derivatives/rater/sub-1/ses-02/anat"
        masks = {
            "label": anat / f"sub-1_ses-02{space}_label-change_mask.nii.gz",
            "ignore": anat / f"sub-1_ses-02{ignore_space}_label-ignore_mask.nii.gz",
        }
        label(masks["label"], 1)
        label(masks["ignore"], 1)
        if place:
            (anat / f"sub-1_ses-02{space}_label-change_mask_to_baseline.json").write_text(str(np.eye(4).tolist()))
        faults = find_pairs(tmp_path).faults
        assert [(fault.kind, fault.is_error, fault.path) for fault in faults] == [
            (FaultKind.LABEL_FRAME, True, masks[one]) for one in wrong
        ]
        if wrong == ["label"]:
            assert f"sub-1_ses-02{space}_label-change_mask_to_baseline.tfm, .txt or .json beside it" in str(faults[0])

    @pytest.mark.parametrize(
        ("mask", "cases"),
        [
            ("sub-1_ses-2_label-lesion_mask", ("sub-1_ses-1_ses-2", "sub-1_ses-2_ses-3")),
            ("sub-1_ses-1_desc-brain_mask", ("sub-1_ses-1_ses-2",)),
            ("sub-1_ses-2_label-ignore_mask", ("sub-1_ses-1_ses-2",)),
        ],
    )
    def test_masks_of_two_raters_are_an_error(self, tmp_path, mask, cases):
        make(tmp_path, *flair("1", "1", "2", "3"))
        label(tmp_path / "sub-1/ses-2/anat/sub-1_ses-2_label-change_mask.nii.gz", 1)
        paths = [tmp_path / f"derivatives/rater{one}/sub-1/anat/{mask}.nii.gz" for one in "AB"]
        make(tmp_path, *paths)
        (fault,) = find_pairs(tmp_path).faults
        assert (fault.kind, fault.is_error, fault.path) == (FaultKind.DUPLICATE, True, paths[1])
        assert (str(paths[0]) in str(fault), fault.cases) == (True, cases)

    def test_a_pattern_names_labels_of_another_kind(self, tmp_path):
        make(tmp_path, *flair("1", "1", "2", "3"))
        label(tmp_path / "masks/sub-1/ses-2_minus_ses-1.nii.gz", 1)
        found = find_pairs(tmp_path, labels="masks/{patient}/{followup}_minus_{baseline}.nii.gz")
        assert [case.labelled for case in found.cases] == [True, False]
        (fault,) = find_pairs(tmp_path, labels="masks/{patient}/*.nii.gz").faults
        assert fault.kind is FaultKind.LABEL_CHOICE
        assert len(fault.cases) == 2

    def test_everything_wrong_with_the_names_is_said(self, tmp_path):
        make(tmp_path, *flair("1", "1"))
        make(tmp_path, *flair("2", "1", "2"), *flair("02", "1", "2"))
        make(tmp_path, *flair("3", "1", "2"), *flair("3", "2", more="_run-2"))
        make(tmp_path, *flair("4", "1"), "sub-4/ses-2/anat/sub-5_ses-2_FLAIR.nii.gz")
        make(tmp_path, *flair("6", "1", "01", "2"))
        make(tmp_path, *flair("7", "1", "2"), "sub-7/ses-3/anat/sub-7_ses-3_T1w.nii.gz")
        told = {(fault.kind, fault.is_error, fault.cases) for fault in find_pairs(tmp_path).faults}
        assert told == {
            (FaultKind.ONE_VISIT, False, ()),
            (FaultKind.DUPLICATE, True, ("sub-2",)),
            (FaultKind.DUPLICATE, True, ("sub-3",)),
            (FaultKind.MISNAMED, True, ("sub-4",)),
            (FaultKind.DUPLICATE, True, ("sub-6_ses-01_ses-1", "sub-6_ses-1_ses-2")),
            (FaultKind.NO_SCAN, False, ()),
        }

    def test_a_label_of_no_pair_is_said_to_be_left_out(self, tmp_path):
        make(tmp_path, *flair("1", "1", "2", "3"))
        label(tmp_path / "sub-1/ses-1/anat/sub-1_ses-1_label-change_mask.nii.gz", 1)
        (fault,) = find_pairs(tmp_path).faults
        assert "got one under ses-1; it is left out" in str(fault)


class TestPlainFolders:
    def test_the_layout_of_ljubljana(self, tmp_path):
        """The transform resamples the scan onto the label: in RAS, x and y of its shift change their sign."""
        make(tmp_path, *(f"p1/study{n}_{kind}.nii.gz" for n in (1, 2) for kind in ("FLAIR", "T1W")))
        make(tmp_path, "p1/brainmask.nii.gz", "p2/brainmask.nii.gz", "notes/readme.txt")
        label(tmp_path / "p1/gt.nii.gz", 1)
        label(tmp_path / "p2/gt.nii.gz", 1)
        make(tmp_path, "p3/study2_FLAIR.nii.gz")
        sitk.WriteTransform(
            sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "p1/study1_FLAIR_to_common_space.txt")
        )
        found = find_pairs(tmp_path)
        (case,) = found.cases
        assert (case.baseline.name, case.followup.name) == ("study1_FLAIR.nii.gz", "study2_FLAIR.nii.gz")
        assert (case.name, case.signed, case.brain_mask) == ("p1", False, None)
        np.testing.assert_allclose(case.label_to_baseline[:3, 3], [-1, -2, 3])
        assert [str(fault).split(";")[0] for fault in found.faults] == [
            f"{tmp_path / 'p2'}: expected two visits, got none",
            f"{tmp_path / 'p3'}: expected two visits, got study2",
        ]

    @pytest.mark.parametrize(
        "names",
        [
            ("baseline.nii.gz", "followup.nii.gz"),
            ("Baseline_FLAIR.nii", "Follow-up_FLAIR.nii"),
            ("flair_time01_on_middle_space.nii.gz", "flair_time02_on_middle_space.nii.gz"),
            ("ses-2_flair.mha", "ses-10_flair.mha"),
            ("baseline/FLAIR.nrrd", "followup/FLAIR.nrrd"),
            ("baseline/IM0001", "followup/IM0001"),
        ],
    )
    def test_other_names_of_visits(self, tmp_path, names):
        make(tmp_path / "p1", *names, "baseline_mask.nii.gz", "baseline_T1.nii.gz", "followup_lesion_flair.nii.gz")
        (case,) = find_pairs(tmp_path).cases
        found = [str(path.relative_to(tmp_path / "p1")) for path in (case.baseline, case.followup)]
        assert found == [name.removesuffix("/IM0001") for name in names]

    @pytest.mark.parametrize(
        ("names", "order"),
        [
            (("scan20200215", "scan20190128"), ["scan20190128", "scan20200215"]),
            (("scan28012020", "scan15022020"), []),
            (("scan1001", "scan999"), ["scan999"]),
        ],
    )
    def test_large_numbers_of_visits_are_dates_or_nothing(self, tmp_path, names, order):
        make(tmp_path / "p1", *(f"{name}_FLAIR.nii.gz" for name in names))
        (patient,) = find_plain_patients(tmp_path)
        assert [visit.name for visit in patient.visits] == order

    def test_masks_and_a_matrix_beside_them(self, tmp_path):
        make(tmp_path / "p1", "baseline.nii.gz", "followup.nii.gz", "brain_mask.nii.gz", "followup_lesion.nii.gz")
        label(tmp_path / "p1/change.nii.gz", 1, 4)
        matrix = np.diag([1.0, 1.0, 1.0, 1.0]) + np.eye(4, k=3)
        (tmp_path / "p1/change_to_baseline.json").write_text(str(matrix.tolist()))
        (case,) = find_pairs(tmp_path).cases
        np.testing.assert_array_equal(case.label_to_baseline, matrix)
        assert (case.brain_mask.name, case.followup_lesion.name) == ("brain_mask.nii.gz", "followup_lesion.nii.gz")
        assert (case.baseline_lesion, case.signed) == (None, True)

    def test_what_is_ambiguous_is_an_error(self, tmp_path):
        make(tmp_path / "p1", "baseline.nii.gz", "baseline_FLAIR.nii.gz", "followup.nii.gz")
        make(tmp_path / "p2", "baseline.nii.gz", "followup.nii.gz", "label_to_baseline.tfm")
        label(tmp_path / "p1/gt.nii.gz", 1)
        label(tmp_path / "p1/change.nii.gz", 1)
        label(tmp_path / "p2/gt.nii.gz", 1)
        assert kinds(find_pairs(tmp_path)) == [FaultKind.LABEL_CHOICE, FaultKind.DUPLICATE, FaultKind.LABEL_FRAME]


@pytest.mark.parametrize(
    ("values", "given", "signed", "unsure"),
    [
        ([(1,), (1,)], None, [False, False], []),
        ([(1,), (1, 3)], None, [False, True], [0]),
        ([(255,), (), (1, 3)], None, [False, False, True], []),
        ([(255,), (1, 7)], None, [False, True], []),
        ([(1,), (1, 2)], None, [False, False], [1]),
        ([(3, 4), (2,)], None, [False, False], [0, 1]),
        ([(2, 4), (1, 2, 3, 4)], None, [True, True], []),
        ([(1,), ()], True, [True, True], []),
        ([(1, 2), (3,)], False, [False, False], []),
    ],
)
def test_direction_is_read_off_the_values_of_each_label(tmp_path, values, given, signed, unsure):
    """A label says the direction if it holds gain and loss; what another patient's holds does not count."""
    for number, one in enumerate(values):
        make(tmp_path / f"p{number}", "baseline.nii.gz", "followup.nii.gz")
        label(tmp_path / f"p{number}/gt.nii.gz", *one)
    found = find_pairs(tmp_path, signed=given)
    assert [case.signed for case in found.cases] == signed
    told = [(fault.kind, fault.is_error, fault.cases) for fault in found.faults]
    names = tuple(f"p{number}" for number in unsure)
    assert told == ([(FaultKind.LABEL_VALUES, False, names)] if unsure else [])
    assert all("no direction: give --signed or --unsigned" in str(fault) for fault in found.faults)


def test_a_folder_without_patients_is_refused(tmp_path):
    make(tmp_path, "readme.txt", "code/run.py")
    with pytest.raises(InputError, match=r"expected sub-.* or folders of patients .* got neither"):
        find_pairs(tmp_path)
