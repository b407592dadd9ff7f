# SPDX-License-Identifier: Apache-2.0
"""Pictures of a pair: what is outlined, where, and in which colour."""

import sys

import numpy as np
import pytest

from monai_microchange.enums import ChangeType
from monai_microchange.export.picture import draw_pair
from monai_microchange.export.slicer import COLOURS

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def matplotlib_image():
    pytest.importorskip("matplotlib", reason="Pictures need matplotlib.")
    from matplotlib.image import imread

    return imread


def pair(change_at=(24, 12, 10), kind=ChangeType.NEW):
    """Two scans, axes along left, posterior, superior: a head with a bright patch, changed in a cube of 4 mm."""
    i, j, k = np.ogrid[:32, :40, :20]
    head = (((i - 15.5) / 14) ** 2 + ((j - 19.5) / 18) ** 2 + ((k - 9.5) / 9) ** 2 < 1).astype(np.float32)
    change = np.zeros(head.shape, dtype=np.uint8)
    change[tuple(slice(c, c + 4) for c in change_at)] = kind
    return head, head + (change > 0), change


def coloured(image, kind):
    """Rows and columns (n, 2) of the picture, 0 to 1, that have the colour of this kind; the legend left out."""
    rgb = np.round(image[..., :3] * 255).astype(int)
    at = np.argwhere(np.abs(rgb - COLOURS[kind]).max(axis=-1) <= 3) / rgb.shape[:2]
    return at[at[:, 0] < 0.8]


@pytest.mark.parametrize("kind", list(ChangeType))
def test_change_is_outlined_in_its_colour_in_the_third_column_only(tmp_path, matplotlib_image, kind):
    draw_pair(tmp_path / "pair.png", *pair(kind=kind), affine=LPS, n_rows=1)
    at = coloured(matplotlib_image(tmp_path / "pair.png"), kind)
    assert len(at) > 20
    assert at[:, 1].min() > 2 / 3
    others = [other for other in ChangeType if other != kind]
    assert all(len(coloured(matplotlib_image(tmp_path / "pair.png"), other)) == 0 for other in others)


def test_left_is_right_and_anterior_is_up(tmp_path, matplotlib_image):
    draw_pair(tmp_path / "pair.png", *pair(), affine=LPS, n_rows=1)  # the change lies left and anterior
    row, column = coloured(matplotlib_image(tmp_path / "pair.png"), ChangeType.NEW).mean(axis=0)
    assert column > 5 / 6
    assert row < 0.45


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0,)), ((2, 0, 1), ()), ((1, 2, 0), (1, 2))])
def test_order_of_the_axes_does_not_matter(tmp_path, matplotlib_image, axes, flips):
    arrays = [np.flip(a, flips).transpose(axes) for a in pair()]
    affine = LPS.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (pair()[0].shape[axis] - 1)
        affine[:3, axis] *= -1
    affine[:, :3] = affine[:, list(axes)]
    draw_pair(tmp_path / "plain.png", *pair(), affine=LPS, n_rows=2)
    draw_pair(tmp_path / "turned.png", *arrays, affine=affine, n_rows=2)
    plain, turned = (matplotlib_image(tmp_path / f"{name}.png") for name in ("plain", "turned"))
    np.testing.assert_array_equal(plain, turned)


def test_voxels_keep_their_shape(tmp_path, matplotlib_image):
    # Twice as coarse along left: the head is 56 mm wide and 36 mm deep.
    region = pair()[0] > 0
    draw_pair(tmp_path / "pair.png", *pair(), affine=LPS @ np.diag([2, 1, 1, 1]), region=region, n_rows=1)
    at = coloured(matplotlib_image(tmp_path / "pair.png"), ChangeType.NEW)
    height, width = matplotlib_image(tmp_path / "pair.png").shape[:2]
    extent = np.ptp(at, axis=0) * (height, width)
    assert extent[1] / extent[0] == pytest.approx(2, rel=0.1)


def test_no_change_and_a_flat_scan_give_a_picture(tmp_path, matplotlib_image):
    flat = np.zeros((8, 8, 4), dtype=np.float32)
    draw_pair(tmp_path / "pair.png", flat, flat, flat.astype(np.uint8), affine=LPS, n_rows=3, title="No change")
    assert matplotlib_image(tmp_path / "pair.png").ndim == 3


def test_leaves_the_state_of_pyplot_alone(tmp_path, matplotlib_image):
    known = "matplotlib.pyplot" in sys.modules
    draw_pair(tmp_path / "pair.png", *pair(), affine=LPS, n_rows=1)
    assert ("matplotlib.pyplot" in sys.modules) == known


def test_without_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"monai-microchange\[report\]"):
        draw_pair(tmp_path / "pair.png", *pair(), affine=LPS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.zeros((4, 4, 4)), "resample them to one grid"),
        (np.full((32, 40, 20), 5), "ChangeType values 1 to 4, got 5"),
    ],
)
def test_refuses(tmp_path, change, message):
    baseline, followup, _ = pair()
    with pytest.raises(ValueError, match=message):
        draw_pair(tmp_path / "pair.png", baseline, followup, change, affine=LPS)
    assert not list(tmp_path.iterdir())
