# SPDX-License-Identifier: Apache-2.0
"""The command: exit codes, messages, screen."""

import io
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

import monai_microchange
from monai_microchange.apps.cli import main
from monai_microchange.apps.screen import headline, print_summary
from monai_microchange.enums import Verdict
from monai_microchange.quality import Reason


def run(*arguments: str) -> int:
    """Exit code of the command, in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"microchange {monai_microchange.__version__}\n"


def test_missing_file_ends_in_one_sentence_and_exit_code_2(tmp_path, sample, capsys):
    output = tmp_path / "out"
    code = run("compare", str(sample / "baseline.nii.gz"), "missing.nii.gz", "-o", str(output), "--quiet")
    message = capsys.readouterr().err
    assert code == 2
    assert message.startswith("error: followup: missing.nii.gz")
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "expected two scans or more"),
        (["compare", "a.nii.gz"], "give the second as a path"),
        (["compare", "--baseline", "FLAIR", "--followup", "FLAIR=b.nii.gz"], "expected MODALITY=FILE"),
        (["compare", "a.nii.gz", "b.nii.gz", "--device", "tpu"], "tpu"),
        (["compare", "a.nii.gz", "b.nii.gz", "--dof", "8"], "'8' is not one of"),
        (["compare", "a", "b", "c", "--brain-mask", "mask.nii.gz"], "--brain-mask: for two visits only, got 3"),
        (["compare", "a", "b", "c", "--baseline", "FLAIR=a"], "--baseline: for two visits only, got 3"),
        (["compare", "a", "b", "c", "--followup-series", "3", "--deformable"], "--followup-series, --deformable: for"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_series_with_a_missing_visit_ends_in_one_sentence(tmp_path, sample, capsys):
    scans = [str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), "missing.nii.gz"]
    assert run("compare", *scans, "-o", str(tmp_path / "out"), "--quiet") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: visit 3: missing.nii.gz")
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_series_is_not_written_over_other_files(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run("compare", "a", "b", "c", "-o", str(tmp_path), "--overwrite", "--quiet") == 2
    assert "other files (thesis.txt)" in capsys.readouterr().err


def test_modalities_that_the_bundle_was_not_trained_on_are_refused(sample, capsys):
    flair = [str(sample / f"{visit}.nii.gz") for visit in ("baseline", "followup")]
    values = [["--" + v, f"FLAIR={f}", f"T1={f}"] for v, f in zip(("baseline", "followup"), flair, strict=True)]
    assert run("compare", *values[0], *values[1], "--quiet") == 2
    assert "got FLAIR, T1" in capsys.readouterr().err


def test_summary_is_one_screen_and_names_the_answer(sample_result):
    console = Console(width=100, record=True, file=io.StringIO())
    print_summary(sample_result, console)
    text = console.export_text()
    assert headline(sample_result) in text
    assert text.count("\n") <= 30
    assert "not a medical device" in text


def test_summary_tells_the_verdict_and_its_reasons(sample_result):
    console = Console(width=300, record=True, file=io.StringIO())
    stop = Reason(Verdict.DO_NOT_COMPARE, "modality", "The scans are of [two] modalities.")
    reasons = (stop, *(Reason(Verdict.READ_WITH_CARE, "noise", f"Reason {i}.") for i in range(5)))
    comparability = replace(sample_result.comparability, reasons=reasons)
    print_summary(replace(sample_result, comparability=comparability), console)
    text = console.export_text()
    assert "Acquisitions: do not compare; residual misalignment 0." in text
    assert "- The scans are of [two] modalities." in text
    assert "and 2 more in result.json" in text


def test_summary_without_change(sample_result):
    stable = tuple(lesion for lesion in sample_result.lesions if lesion.change_type is None)
    assert headline(replace(sample_result, lesions=stable)).startswith("No change found")


def test_command_starts_quickly_because_nothing_heavy_is_imported():
    code = "import sys, monai_microchange.apps.cli as c; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
