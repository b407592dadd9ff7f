# SPDX-License-Identifier: Apache-2.0
"""The gate from the command line: T1 against FLAIR stops, and goes on by force."""

import json

import nibabel as nib
import numpy as np
import pytest

from monai_microchange.apps.cli import main
from monai_microchange.enums import ResultFile

from .conftest import AFFINE, ball_scan

SIDECARS = {
    "flair": {"EchoTime": 0.12, "InversionTime": 2.5, "PatientName": "Doe^Jane"},
    "t1": {"EchoTime": 0.003, "InversionTime": 0.9, "PatientName": "Doe^Jane"},
}


@pytest.fixture
def scans(tmp_path):
    """The ball as FLAIR, and with its contrast turned over as T1; each with its sidecar."""
    flair = ball_scan(noise=1.0, seed=1).numpy()[0]
    t1 = np.where(flair > 20, 220 - ball_scan(noise=1.0, seed=2).numpy()[0], flair)
    for name, values in (("flair", flair), ("t1", t1)):
        inner = values[2:-2, 2:-2, 2:-2].astype(np.float32)  # 64 mm: one window of the network
        nib.save(nib.Nifti1Image(inner, AFFINE), tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text(json.dumps(SIDECARS[name]))
    return [str(tmp_path / f"{name}.nii.gz") for name in ("flair", "t1")]


def test_t1_against_flair_ends_in_exit_code_2_and_goes_on_by_force(scans, tmp_path, capsys):
    command = ["compare", *scans, "-o", str(tmp_path / "out"), "--roi", "none", "--device", "cpu", "--quiet"]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "do not compare. Echo times of 120 ms against 3 ms" in message
    assert "--force" in message
    assert not (tmp_path / "out").exists()

    with pytest.raises(SystemExit) as stopped:
        main([*command, "--force"])
    assert not stopped.value.code
    text = (tmp_path / "out" / ResultFile.PROVENANCE).read_text()
    facts = json.loads(text)
    assert facts["comparability"]["verdict"] == "do not compare"
    assert any("Compared all the same (force)." in warning for warning in facts["warnings"])
    assert "warning: Echo times" in capsys.readouterr().err
    assert "Jane" not in text
    change, apart = (nib.load(tmp_path / "out" / name) for name in (ResultFile.MID_CHANGE, ResultFile.MID_MISALIGNMENT))
    assert apart.shape == change.shape
    np.testing.assert_allclose(apart.affine, change.affine)
    assert apart.get_data_dtype() == np.float32
