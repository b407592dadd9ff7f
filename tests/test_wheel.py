# SPDX-License-Identifier: Apache-2.0
"""The wheel alone, outside the checkout, does the main job."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_demo_works_from_the_wheel(tmp_path):
    checkout = Path(__file__).parents[1]

    def run(*command: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    source = tmp_path / "source"
    shutil.copytree(checkout, source, ignore=shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", ".*_cache"))
    run("-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(wheel))
    where = run("-c", "import monai_microchange as m; print(m.__file__)", PYTHONPATH=str(installed)).strip()
    assert Path(where).is_relative_to(installed)
    screen = run("-m", "monai_microchange.apps.cli", "demo", "-o", "result", PYTHONPATH=str(installed))
    assert "new" in screen
    assert (tmp_path / "result" / "mid" / "change.nii.gz").is_file()
