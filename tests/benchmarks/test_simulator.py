# SPDX-License-Identifier: Apache-2.0
"""Measures of pairs on made-up volumes with the answer known, and the pictures that go with them."""

import importlib

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy, ChangeLabel

SHAPE = (48, 48, 48)


@pytest.fixture
def load_part(monkeypatch, request):
    """Import a part of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def measures(load_part):
    return load_part("_pair_measures")


def everywhere():
    return np.ones(SHAPE, dtype=bool)


def inner():
    """All but the border, where filters see the volume reflected."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:-2, 2:-2, 2:-2] = True
    return mask


def texture(sigma, seed=0):
    """White noise blurred by a Gaussian of these widths, with a standard deviation of 1."""
    field = ndi.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), sigma, mode="wrap")
    return field / field.std()


def make_pair(load_part, scan="a", is_real=True, seed=0):
    """Noise around 1, one cube that brightens by 0.4 and one that darkens by 0.2."""
    baseline, followup = (1 + 0.02 * texture(0.0, seed + n) for n in (0, 1))
    label = np.zeros(SHAPE, dtype=np.uint8)
    for start, code, step in ((10, ChangeLabel.GAIN, 0.4), (30, ChangeLabel.LOSS, -0.2)):
        cube = (slice(start, start + 5),) * 3
        label[cube] = code
        followup[cube] += step
    anatomy = np.full(SHAPE, Anatomy.WHITE_MATTER, dtype=np.uint8)
    anatomy[:, :, 40:44] = Anatomy.VENTRICLE
    baseline[anatomy == Anatomy.VENTRICLE] = followup[anatomy == Anatomy.VENTRICLE] = 0.25
    data = {"baseline": baseline, "followup": 3 * followup, "label": label, "anatomy": anatomy}
    sources = load_part("_pair_sources")
    return sources.make_pair(scan, {key: array[None] for key, array in data.items()}, is_real=is_real)


# measures


def test_change_on_paper(measures):
    """A cube of 27 brightens by 0.5 over an offset of 0.1; its rim of 1 voxel (5^3 - 27) by half of that."""
    change = np.zeros(SHAPE, dtype=bool)
    change[20:23, 20:23, 20:23] = True
    rim = np.zeros(SHAPE)
    rim[19:24, 19:24, 19:24] = 0.25
    followup = np.where(change, 0.5, rim) + 0.1
    [piece] = measures.changed_components(np.zeros(SHAPE), followup, change, everywhere())
    assert (piece.volume_mm3, piece.centre) == (27, (21, 21, 21))
    assert piece.contrast == pytest.approx(0.5)
    # the rim is what lies nearer than 1.5 mm: faces and edges of the cube, not its 8 corners, all of them at 0.25
    assert piece.halo == pytest.approx(0.5)


def test_change_too_small_is_left_out(measures):
    change = np.zeros(SHAPE, dtype=bool)
    change[5, 5, 5:7] = change[30, 30, 30:33] = True
    pieces = measures.changed_components(np.zeros(SHAPE), change.astype(float), change, everywhere())
    assert [piece.volume_mm3 for piece in pieces] == [3]


def test_visits_exchanged_turn_the_contrast(measures):
    change = np.zeros(SHAPE, dtype=bool)
    change[20:24, 20:24, 20:24] = True
    one, other = 1 + 0.1 * texture(1), 1 + 0.1 * texture(1, seed=1) + 0.3 * change
    [there] = measures.changed_components(one, other, change, everywhere())
    [back] = measures.changed_components(other, one, change, everywhere())
    assert there.contrast == pytest.approx(-back.contrast)


def test_noise_without_what_varies_linearly(measures):
    slope = np.add.outer(np.add.outer(np.arange(48.0), 2 * np.arange(48.0)), -3 * np.arange(48.0))
    assert measures.noise_level(slope + 0.03 * texture(0.0), inner()) == pytest.approx(0.03, rel=0.03)


def test_noise_is_that_of_the_slices(measures):
    """Interpolation half-way across slices averages two: the noise there falls, that in the plane of slices counts."""
    noise = 0.03 * texture(0.0)
    blurred = (noise + np.roll(noise, 1, axis=2)) / 2
    assert measures.noise_level(blurred, inner()) == pytest.approx(0.03 / np.sqrt(2), rel=0.03)


def test_smoothness_of_blurred_noise(measures):
    widths = measures.smoothness_mm(texture((0.8, 0.8, 2.0)), everywhere(), detrend_sigma_mm=30)
    assert widths == pytest.approx(np.sqrt(8 * np.log(2)) * np.array([0.8, 0.8, 2.0]), rel=0.05)


def test_shift_of_a_smooth_texture(measures):
    wanted = np.array([0.4, -0.25, 0.1])
    scan = texture(2.5)
    moved = ndi.fourier_shift(np.fft.fftn(scan), wanted)
    followup = 1.2 * np.fft.ifftn(moved).real + 0.3  # another gain and offset are no shift
    shifts = measures.block_shifts_mm(scan, followup, everywhere())
    assert shifts.shape == (8, 3)
    assert np.abs(shifts - wanted).max() < 0.03
    back = measures.block_shifts_mm(followup, scan, everywhere())
    assert np.abs(back + shifts).max() < 0.03


def test_blocks_outside_the_region_have_no_shift(measures):
    region = everywhere()
    region[24:] = False
    assert len(measures.block_shifts_mm(texture(2), texture(2), region)) == 4
    assert measures.block_shifts_mm(texture(2), texture(2), ~everywhere()).shape == (0, 3)


def test_bias_of_half_a_volume(measures):
    """Two slabs a step of 0.2 apart in the logarithm: a standard deviation of 0.1, little less after the blur."""
    baseline = np.exp(0.1 * texture(0.0))
    followup = baseline * np.exp(np.where(np.arange(48) < 24, 0.1, -0.1))
    assert measures.bias_difference(baseline, followup, everywhere(), sigma_mm=1.0) == pytest.approx(0.1, rel=0.03)
    assert measures.bias_difference(baseline, 7 * baseline, everywhere()) == pytest.approx(0, abs=1e-9)


def test_tissue_ratio(measures):
    left = everywhere()
    left[24:] = False
    assert measures.tissue_ratio(np.where(left, 3.0, 2.0), left, ~left) == 1.5


@pytest.mark.parametrize("measure", ["noise_level", "smoothness_mm"])
def test_too_few_voxels_give_no_number(measures, measure):
    assert np.isnan(getattr(measures, measure)(texture(1), ~everywhere())).all()


def test_too_few_voxels_give_no_ratio(measures):
    nothing = ~everywhere()
    assert np.isnan(measures.tissue_ratio(texture(1), nothing, everywhere()))
    assert np.isnan(measures.bias_difference(texture(1), texture(1), nothing))


# pairs


def test_pair_is_scaled_and_described(load_part):
    values = load_part("_pair_values")
    pair = make_pair(load_part)
    assert np.median(pair.followup[pair.white_matter]) == pytest.approx(1)
    seen = values.collect([values.describe_visits(pair), values.describe_changes(pair)])
    assert seen[values.VOLUME] == [125, 125]
    assert seen["contrast where brighter"] == pytest.approx([0.4], abs=0.01)
    assert seen["contrast where darker"] == pytest.approx([0.2], abs=0.01)
    assert seen["noise of a visit"] == pytest.approx([0.02, 0.02], rel=0.05)
    assert seen["ventricles over white matter"] == pytest.approx([0.25, 0.25], abs=0.01)
    assert seen["cortex over white matter"] == []
    assert seen["change to ventricles, mm"] == [28, 8]  # from planes 12 and 32 to 40


def test_blocks_lie_in_the_volume(load_part):
    pair, random = make_pair(load_part), np.random.RandomState(0)
    blocks = load_part("simulator").draw_blocks(pair, [32, 48, 40], 5, random)
    assert {block.baseline.shape for block in blocks} == {(32, 48, 40)}
    assert {block.scan for block in blocks} == {"a"}


def test_pairs_shown_come_from_different_scans(load_part):
    pairs = [make_pair(load_part, scan) for scan in "aaab"]
    shown = load_part("simulator").fit_to_show(pairs, 2, np.random.RandomState(0))
    assert sorted(pair.scan for pair in shown) == ["a", "b"]


def test_agreement_on_paper(load_part):
    agreement = load_part("_pair_values").agreement
    # a quarter of the real values lies above all simulated ones, so the cumulative distributions part by 1/4
    assert agreement([1, 2, 3, 9], [1, 2, 3, 1, 2, 3])[0] == pytest.approx(0.25)
    assert agreement([2, 50], np.arange(101)) == (pytest.approx(0.5, abs=0.03), 0.5)
    assert np.isnan(agreement([], [1.0])).all()


def test_table_shows_each_measure(load_part, capsys):
    script = load_part("simulator")
    rows = script.table({"a": [1.0, 2.0, 3.0], "b": [1.0]}, {"a": [1.0, 2.0, 3.0]}, {"a": [5.0]})
    script.Console(width=140).print(rows)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("│a", "│b"))]
    assert [cell.strip() for cell in lines[0].split("│")[1:-1]] == [
        "a",
        "2 [1.2–2.8]",
        "2 [1.2–2.8]",
        "3, 3",
        "0.00",
        "33%",
        "5 [5–5]",
    ]
    assert lines[1].split("│")[3].strip() == ""


# pictures


@pytest.fixture
def pictures(load_part):
    pytest.importorskip("matplotlib", reason="Pictures need matplotlib.")
    return load_part


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_picture_of_pairs_keeps_its_secret(pictures, tmp_path):
    pairs = [make_pair(pictures, scan, is_real=scan < "c", seed=n) for n, scan in enumerate("abcd")]
    key = pictures("_pair_pictures").draw_blind_pairs(tmp_path / "pairs.png", pairs, np.random.RandomState(1))
    assert is_png(tmp_path / "pairs.png")
    assert [line[:2] for line in key] == ["A:", "B:", "C:", "D:"]
    assert sorted(line[3:] for line in key) == ["real, a", "real, b", "simulated, c", "simulated, d"]


def test_picture_of_lesions(pictures, tmp_path):
    real, simulated = make_pair(pictures), make_pair(pictures, is_real=False, seed=5)
    draw = pictures("_pair_pictures").draw_lesions
    draw(tmp_path / "lesions.png", [real], [simulated], count=2, edge=16)
    assert is_png(tmp_path / "lesions.png")
    still = real.block((0, 0, 0), (8, 8, 8))
    with pytest.raises(ValueError, match="no change to draw"):
        draw(tmp_path / "none.png", [still], [simulated])


def test_picture_of_distributions(pictures, tmp_path):
    real = {"sizes": [3.0, 50.0, 900.0], "signed": [-1.0, 1.0], "only real": [1.0]}
    simulated = {"sizes": [5.0, 70.0], "signed": [0.0]}
    distances = dict.fromkeys(real, 0.5)
    pictures("_pair_pictures").draw_distributions(tmp_path / "distributions.png", real, simulated, distances)
    assert is_png(tmp_path / "distributions.png")


def test_picture_shows_every_effect(pictures, tmp_path):
    from monai_microchange.transforms import effects

    module = pictures("_effect_pictures")
    found = module.effect_classes()
    assert effects.RicianNoise in found
    assert effects.Effect not in found
    pair = make_pair(pictures)
    image, anatomy = torch.from_numpy(pair.baseline)[None], torch.from_numpy(pair.anatomy)[None]
    module.draw_effects(tmp_path / "effects.png", image, anatomy, np.random.RandomState(0), draws=1)
    assert is_png(tmp_path / "effects.png")


def test_busiest_plane(pictures):
    difference = np.zeros((9, 9, 9))
    difference[:, 4] = 1.0
    plane = pictures("_effect_pictures").busiest_plane(difference, np.ones((9, 9, 9), dtype=bool))
    assert plane == (slice(None), 4, slice(None))


# real data


def test_simulator_is_the_one_that_trains(load_part, real_data):
    """A drawn pair from a tiny stand-in for the prepared scans; the scans themselves are not read."""
    sources = load_part("_pair_sources")
    simulator = sources.TrainingSimulator(real_data)
    assert all((real_data / scan["image"]).exists() for scan in simulator.scans)
    image = torch.from_numpy(100 * (1 + 0.02 * texture(0.0)).astype(np.float32))[None]
    anatomy = torch.ones(1, *SHAPE, dtype=torch.uint8)
    data = {"image": image, "anatomy": anatomy, "brain": anatomy, "thickness_mm": 1.0}
    simulator.prepared = [data] * len(simulator.scans)
    [pair] = simulator.pairs(1, seed=3)
    [again] = simulator.pairs(1, seed=3)
    assert np.array_equal(pair.followup, again.followup)
    assert pair.scan == simulator.scans[0]["image"]
    assert not pair.is_real


def test_real_volumes(load_part, real_data):
    volumes = load_part("_pair_sources").expert_volumes_mm3(real_data)
    assert len(volumes) > 500
    assert min(volumes) >= 3


def test_script_says_why_it_skips(load_part, monkeypatch, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    assert load_part("simulator").main([]) == 0
    assert "Skipped: neither --data nor MICROCHANGE_DATA" in capsys.readouterr().out
