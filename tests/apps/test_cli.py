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
        (["compare"], "give BASELINE once"),
        (["compare", "a.nii.gz"], "give FOLLOWUP once"),
        (["compare", "--baseline", "FLAIR", "--followup", "FLAIR=b.nii.gz"], "expected MODALITY=FILE"),
        (["compare", "a.nii.gz", "b.nii.gz", "--device", "tpu"], "tpu"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


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


def test_summary_without_change(sample_result):
    stable = tuple(lesion for lesion in sample_result.lesions if lesion.change_type is None)
    assert headline(replace(sample_result, lesions=stable)).startswith("No change found")


def test_command_starts_quickly_because_nothing_heavy_is_imported():
    code = "import sys, monai_microchange.apps.cli as c; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
