# SPDX-License-Identifier: Apache-2.0
"""Lesion shapes and how they shrink."""

import os
from pathlib import Path

import numpy as np
import pytest

from monai_microchange.data import LesionBank


def write_bank(path, shapes):
    """Pack shapes as the bank is stored."""
    bits = np.concatenate([s.ravel() for s in shapes])
    np.savez(
        path,
        bits=np.packbits(bits),
        n_bits=len(bits),
        offset=np.cumsum([0, *(s.size for s in shapes)]),
        shape=np.array([s.shape for s in shapes]),
        volume_mm3=np.array([s.sum() for s in shapes]),
    )
    return path


@pytest.fixture
def shapes():
    """Boxes of 6 to 600 mm3, each with a corner cut out so that its orientation shows."""
    made = []
    for i in range(1, 21):
        shape = np.ones((i + 1, 2, 3) if i < 10 else (i, 5, 6), dtype=bool)
        shape[0, 0, 0] = False
        made.append(shape)
    return made


@pytest.fixture
def bank_file(tmp_path, shapes):
    return write_bank(tmp_path / "bank.npz", shapes)


def test_shapes_are_read_back(bank_file, shapes):
    bank = LesionBank(bank_file, min_volume_mm3=0, max_volume_mm3=1e6)
    assert len(bank.shapes) == len(shapes)
    for read, written in zip(bank.shapes, shapes, strict=True):
        np.testing.assert_array_equal(read, written)


def test_only_shapes_between_the_volumes_are_kept(bank_file):
    bank = LesionBank(bank_file, min_volume_mm3=20, max_volume_mm3=60)
    assert len(bank.shapes) > 0
    assert all(20 <= s.sum() <= 60 for s in bank.shapes)


def test_a_bank_without_such_shapes_is_refused(bank_file):
    with pytest.raises(ValueError, match=r"bank\.npz has no shape of 1000000\.0 to 2500\.0 mm3"):
        LesionBank(bank_file, min_volume_mm3=1e6)


def test_drawing_repeats_under_a_seed(bank_file):
    bank = LesionBank(bank_file)
    one, other = ([bank.draw(random) for _ in range(5)] for random in map(np.random.RandomState, (4, 4)))
    for here, there in zip(one, other, strict=True):
        np.testing.assert_array_equal(here, there)


def test_drawn_shapes_are_of_the_bank_whichever_way_they_lie(bank_file, shapes):
    bank, random = LesionBank(bank_file, min_volume_mm3=0), np.random.RandomState(0)
    known = {(tuple(sorted(s.shape)), int(s.sum())) for s in shapes}
    drawn = [bank.draw(random) for _ in range(60)]
    assert {(tuple(sorted(s.shape)), int(s.sum())) for s in drawn} <= known
    assert len({s.shape for s in drawn}) > 10
    assert len({int(s.ravel()[0]) for s in drawn}) == 2  # the missing corner is here and elsewhere


def test_small_and_large_shapes_are_drawn_alike(tmp_path):
    """Evenly over the logarithm: a hundred small shapes are not drawn more often than ten large ones."""
    shapes = [np.ones((2, 2, 2 + i % 2), bool) for i in range(100)] + [np.ones((10, 10, 10), bool) for _ in range(10)]
    bank, random = LesionBank(write_bank(tmp_path / "bank.npz", shapes)), np.random.RandomState(0)
    large = np.mean([bank.draw(random).sum() > 100 for _ in range(300)])
    assert large > 0.4


@pytest.mark.real
def test_bank_of_the_real_lesions():
    folder = os.environ.get("MICROCHANGE_DATA")
    if not folder:
        pytest.skip("MICROCHANGE_DATA is not set")
    bank, random = LesionBank(Path(folder) / "lesion_shapes" / "shapes.npz"), np.random.RandomState(0)
    volumes = np.array([bank.draw(random).sum() for _ in range(100)])
    assert volumes.min() >= 8
    assert volumes.max() <= 2500
    assert 30 < np.median(volumes) < 500  # the middle of the logarithm is sqrt(8 * 2500) = 141


@pytest.mark.parametrize("volume", [10, 100, 550])
def test_a_volume_may_be_asked_for(bank_file, volume):
    """Of the shapes in order of volume, those up to five places from where this volume belongs."""
    bank, random = LesionBank(bank_file, min_volume_mm3=0), np.random.RandomState(0)
    volumes = np.sort([s.sum() for s in bank.shapes])
    place = int((volumes < volume).sum())
    drawn = {int(bank.draw(random, volume).sum()) for _ in range(60)}
    assert drawn <= set(volumes[max(place - 5, 0) : place + 6].tolist())
    assert len(drawn) > 3


def test_beyond_the_bank_its_ends_are_drawn(bank_file):
    bank, random = LesionBank(bank_file, min_volume_mm3=0), np.random.RandomState(0)
    volumes = np.sort([s.sum() for s in bank.shapes])
    assert {int(bank.draw(random, 1.0).sum()) for _ in range(30)} <= set(volumes[:6].tolist())
    assert {int(bank.draw(random, 1e6).sum()) for _ in range(30)} <= set(volumes[-6:].tolist())
