# SPDX-License-Identifier: Apache-2.0
"""Choice of slices."""

import numpy as np
import pytest

from monai_microchange.export.slice_choice import choose_slices

MM = (1.0, 1.0, 1.0)


def test_shows_each_lesion_where_it_is_largest():
    change = np.zeros((20, 20, 40), dtype=np.uint8)
    change[2:5, 2:5, 6:9] = 1
    change[1:7, 1:7, 7] = 1  # largest at 7
    change[10:14, 10:14, 30] = 4
    change[3:5, 3:5, 18:20] = 2
    assert choose_slices(change, 3, spacing_mm=MM) == [7, 18, 30]
    assert choose_slices(change, 2, spacing_mm=MM) == [7, 30]


def test_many_small_lesions_outweigh_a_large_one():
    change = np.zeros((20, 20, 30), dtype=np.uint8)
    change[0:4, 0:4, 2:4] = 1  # 32 voxels: weight 5.7
    change[::4, ::4, 20] = 1  # 25 single voxels: weight 25
    assert choose_slices(change, 1, spacing_mm=MM) == [20]


def test_one_long_lesion_does_not_take_neighbouring_slices():
    change = np.zeros((8, 8, 80), dtype=np.uint8)
    change[2:5, 2:5, 20:60] = 1
    change[2:6, 2:5, 40] = 1
    chosen = choose_slices(change, 4, spacing_mm=MM)
    assert 40 in chosen
    assert np.diff(chosen).min() > 5


def test_without_change_slices_spread_over_the_region():
    region = np.zeros((4, 4, 50), dtype=bool)
    region[:, :, 10:41] = True
    chosen = choose_slices(np.zeros(region.shape), 3, spacing_mm=MM, region=region)
    assert len(chosen) == 3
    assert chosen[0] >= 10
    assert chosen[-1] <= 40
    assert np.diff(chosen).min() >= 5


def test_gives_what_a_shallow_grid_has():
    assert choose_slices(np.zeros((4, 4, 2)), 5, spacing_mm=MM) == [0, 1]
    assert choose_slices(np.ones((4, 4, 1)), 5, spacing_mm=MM) == [0]


def test_refuses_no_slices():
    with pytest.raises(ValueError, match="n_slices must be at least 1, got 0"):
        choose_slices(np.zeros((4, 4, 2)), 0, spacing_mm=MM)
