# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests share: the sample pair compared once, and the real scans."""

import os
from pathlib import Path

import pytest

from monai_microchange._shipped import shipped_sample
from monai_microchange.pipeline import compare
from monai_microchange.result import ChangeResult


@pytest.fixture(scope="session")
def sample() -> Path:
    return shipped_sample()


@pytest.fixture(scope="session")
def sample_result(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> ChangeResult:
    """The sample pair, compared once for all tests, as `microchange demo` does it."""
    folder = tmp_path_factory.mktemp("sample") / "result"
    return compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real scans, or a skip that says how to get them in."""
    folder = os.environ.get("MICROCHANGE_DATA")
    if not folder:
        pytest.skip("set MICROCHANGE_DATA to the folder of the real scans")
    return Path(folder)
