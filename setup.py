# SPDX-License-Identifier: Apache-2.0
"""Puts the bundles and the sample into the wheel; everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("bundles", "data_samples")


class BuildWithShipped(build_py):
    """Copies the shipped folders into the package, unless it is installed in place."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if self.editable_mode:
            return
        for folder in SHIPPED:
            target = Path(self.build_lib) / "monai_microchange" / folder
            shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "eval"))


setup(cmdclass={"build_py": BuildWithShipped})
