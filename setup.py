# SPDX-License-Identifier: Apache-2.0
"""Puts the bundles and the sample into the wheel; everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "bundles/*/LICENSE",
    "bundles/*/configs/*",
    "bundles/*/docs/*",
    "bundles/*/models/model.pt",
    "bundles/*/models/model.confidence.json",
    "data_samples/README.md",
    "data_samples/*/*",
)


class BuildWithShipped(build_py):
    """Copies the shipped files into the package, unless it is installed in place."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if self.editable_mode:
            return
        for source in (path for pattern in SHIPPED for path in Path().glob(pattern)):
            target = Path(self.build_lib) / "monai_microchange" / source
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithShipped})
