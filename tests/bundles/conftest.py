# SPDX-License-Identifier: Apache-2.0
"""Bundles to test, and tools of MONAI that leave no trace in other tests."""

import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from monai_microchange._shipped import shipped_bundle

BUNDLES = ("ms_lesion_change", "head_anatomy")


@pytest.fixture(params=BUNDLES)
def bundle(request) -> Path:
    """Folder of each bundle that comes with the package."""
    return shipped_bundle(request.param)


@pytest.fixture
def change_bundle() -> Path:
    return shipped_bundle("ms_lesion_change")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty working directory, far from any bundle; what MONAI puts on the module path is taken off again."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


@pytest.fixture
def any_seed():
    """Undo the determinism that a training sets for the whole process."""
    yield
    set_determinism(None)


@pytest.fixture
def read_config():
    """Read configuration files of a bundle into a parser."""

    def read(bundle: Path, *names: str) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([str(bundle / "configs" / name) for name in names])
        return parser

    return read
