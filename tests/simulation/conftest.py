# SPDX-License-Identifier: Apache-2.0
"""Phantoms are made once for all tests of the simulation."""

import pytest

from monai_microchange.simulation import make_phantom


@pytest.fixture(scope="package")
def phantom():
    """Two lesions of each kind and four stable ones."""
    pytest.importorskip("nilearn")
    return make_phantom(7)


@pytest.fixture(scope="package")
def plain_phantom():
    """One stable lesion, no change."""
    pytest.importorskip("nilearn")
    return make_phantom(3, n_per_type=0, n_stable=1)
