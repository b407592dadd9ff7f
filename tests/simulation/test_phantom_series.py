# SPDX-License-Identifier: Apache-2.0
"""A phantom's DICOM series, read by the package's own reader, whatever its files are called."""

import numpy as np

from monai_microchange.data import read_pair, read_series
from monai_microchange.enums import VISITS
from monai_microchange.simulation import write_phantom


def test_shuffled_names_change_nothing(plain_phantom, tmp_path):
    folder = write_phantom(tmp_path / "pair", plain_phantom, dicom=True)
    files = sorted((folder / "baseline").iterdir())
    order = np.random.default_rng(0).permutation(len(files))
    for place, file in zip(order, files, strict=True):
        file.rename(file.with_name(f"x{place:04d}.bin"))
    image = read_series(folder / "baseline")
    np.testing.assert_allclose(image.affine, plain_phantom.baseline.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(plain_phantom.baseline))


def test_interval_comes_from_the_headers(plain_phantom, tmp_path):
    folder = write_phantom(tmp_path / "pair", plain_phantom, dicom=True)
    pair = read_pair(*(folder / visit for visit in VISITS))
    assert pair.interval_days == 180
    assert pair.warnings == ()
