# SPDX-License-Identifier: Apache-2.0
"""`microchange datalist`: what it writes, what it says, and when it refuses."""

import json
import os

import numpy as np
import pytest

from monai_microchange.apps.cli import main
from monai_microchange.data.datalist import read_datalist
from monai_microchange.export import write_nifti

AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
SHAPE = (12, 11, 10)


def run(*arguments):
    """Exit code of the command, in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(["datalist", *map(str, arguments)])
    return int(stopped.value.code or 0)


def write_scan(path, seed, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16), affine)


def write_label(path, value=1, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.zeros(SHAPE, np.uint8)
    label[4:6, 5, 5] = value
    write_nifti(path, label, affine)


def scan_of(root, subject, session):
    return root / f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_FLAIR.nii.gz"


def label_of(root, subject, session):
    name = f"sub-{subject}_ses-{session}_label-change_mask.nii.gz"
    return root / f"derivatives/manual/sub-{subject}/ses-{session}/anat/{name}"


@pytest.fixture
def bids(tmp_path):
    """Five patients of two visits, all labelled."""
    root = tmp_path / "bids"
    for number in range(5):
        subject = f"{number:02d}"
        for visit in (1, 2):
            write_scan(scan_of(root, subject, f"{visit:02d}"), seed=10 * number + visit)
        write_label(label_of(root, subject, "02"))
    return root


def test_five_planted_faults_are_reported_at_once(bids, tmp_path, capsys):
    """One in each patient: a truncated file, a scan given twice, a value that no change has, a label elsewhere, and a
    scan of another patient."""
    truncated = scan_of(bids, "00", "02")
    truncated.write_bytes(truncated.read_bytes()[:700])
    scan_of(bids, "01", "02").write_bytes(scan_of(bids, "01", "01").read_bytes())
    label = np.zeros(SHAPE, np.uint8)
    label[4:6, 5, 5] = 2, 7
    write_nifti(label_of(bids, "02", "02"), label, AFFINE)
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] = 500.0
    write_label(label_of(bids, "03", "02"), affine=elsewhere)
    scan_of(bids, "04", "01").write_bytes(scan_of(bids, "03", "01").read_bytes())
    output = tmp_path / "list.json"

    assert run(bids, "-o", output) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 5
    expected = [
        (truncated, "damaged or truncated"),
        (scan_of(bids, "01", "02"), "got the same voxels as"),
        (label_of(bids, "02", "02"), "expected the values 0, 1 new, 2 enlarging, 3 shrinking, 4 resolved, got 7"),
        (label_of(bids, "03", "02"), "expected a grid that overlaps the baseline scan, got one elsewhere"),
        (scan_of(bids, "04", "01"), "(two patients)"),
    ]
    for path, sentence in expected:
        assert sum(f"{path}: " in line and sentence in line for line in lines) == 1, path
    assert not output.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bids"]


def test_good_pairs_may_be_listed_without_the_others(bids, tmp_path, capsys):
    write_label(label_of(bids, "02", "02"), affine=np.diag([-4.0, 4.0, 5.0, 1.0]) - np.eye(4)[:, [3]] * 900)
    scan_of(bids, "04", "01").write_bytes(b"no image")
    output = tmp_path / "list.json"
    assert run(bids, "-o", output, "--skip-faulty") == 0
    assert [case.name for case in read_datalist(output)] == ["sub-00", "sub-01", "sub-03"]
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if line.startswith("left out")] == [
        "left out: sub-02",
        "left out: sub-04",
    ]


def test_a_clean_folder_gives_a_list_that_reads_back(bids, tmp_path, capsys):
    output = tmp_path / "lists" / "list.json"
    assert run(bids, "-o", output) == 0
    content = json.loads(output.read_text())
    assert content["training"][0]["baseline"] == os.path.join(
        "..", "bids", "sub-00/ses-01/anat/sub-00_ses-01_FLAIR.nii.gz"
    )
    cases = read_datalist(output, section="training")
    assert [case.patient for case in cases] == [f"sub-{number:02d}" for number in range(5)]
    assert sorted(case.fold for case in cases) == [0, 1, 2, 3, 4]
    assert not any(case.signed for case in cases)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.split()[:2] for line in printed.out.splitlines()[:3]] == [
        ["patients", "5"],
        ["pairs", "5"],
        ["labelled", "5"],
    ]


def test_pairs_without_a_label_are_listed_apart(bids, tmp_path):
    label_of(bids, "01", "02").unlink()
    output = tmp_path / "list.json"
    assert run(bids, "-o", output, "--folds", 2) == 0
    assert len(read_datalist(output)) == 4
    assert [case.name for case in read_datalist(output, section="unlabelled", labelled=False)] == ["sub-01"]


def test_a_list_is_checked_and_nothing_is_written(bids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(bids, "-o", "cases.json") == 0
    capsys.readouterr()
    assert run("cases.json") == 0
    assert capsys.readouterr().err == ""
    content = json.loads((tmp_path / "cases.json").read_text())
    for entry in content["training"][:2]:
        entry["patient"] = "one"
    (tmp_path / "cases.json").write_text(json.dumps(content))
    label_of(bids, "03", "02").unlink()
    assert run("cases.json") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 2
    assert any("sub-03" in line and "expected" in line for line in lines)
    assert any("one: expected a patient in one fold, got folds" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bids", "cases.json"]


def test_phantoms_are_found_with_their_truth(sample, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "phantoms" / name).mkdir(parents=True)
        for file in sample.iterdir():
            (tmp_path / "phantoms" / name / file.name).symlink_to(file)
    output = tmp_path / "list.json"
    assert run(tmp_path / "phantoms", "-o", output, "--no-check") == 0
    facts = json.loads((sample / "truth.json").read_text())
    for case in read_datalist(output):
        assert case.signed
        np.testing.assert_allclose(case.label_to_baseline, facts["transforms"]["anatomy_to_baseline"])


def test_one_patient_alone_may_be_the_folder(sample, tmp_path, capsys):
    output = tmp_path / "list.json"
    assert run(sample, "-o", output) == 0
    (case,) = read_datalist(output)
    assert (case.name, case.signed, case.fold) == ("ms_flair_pair", True, 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: expected a folder, but there is none"),
        (["bids", "--folds", "9"], "expected 1 to 5 folds, as there are 5 patients to share out, got 9"),
        (["bids", "--labels", "{session}/*"], "got 'session'; correct the pattern"),
        (["bids", "--suffix", "T2w"], "there is no patient with two visits"),
        (["empty"], "got neither; see microchange datalist --help"),
        (["bids", "-o", "there.json"], "got one that exists; use --overwrite to replace it"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(bids, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.json").write_text("kept")
    assert run(*arguments, "--no-check") == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "there.json").read_text() == "kept"
    assert not (tmp_path / "datalist.json").exists()


@pytest.mark.real
def test_the_real_patients(real_data, tmp_path, capsys):
    folder = real_data / "ljubljana_longitudinal"
    assert run(folder, "-o", tmp_path / "list.json") == 0
    cases = read_datalist(tmp_path / "list.json")
    assert [(case.name, case.signed, case.labelled) for case in cases] == [
        ("patient01", False, True),
        ("patient19", False, True),
    ]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    single = {"patient04": "study1", "patient09": "study2", "patient20": "study2"}
    for name in sorted(path.name for path in folder.glob("patient*") if path.is_dir()):
        if name not in ("patient01", "patient19"):
            sentence = f"{folder / name}: expected two visits, got {single.get(name, 'none')};"
            assert sum(sentence in line for line in warnings) == 1
    assert len(warnings) == 16
