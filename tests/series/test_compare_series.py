# SPDX-License-Identifier: Apache-2.0
"""A series of three small visits from file to folder, with a network that subtracts; and what is refused."""

import csv
import io
import json
import shutil
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from rich.console import Console

import monai_microchange
from monai_microchange._frames import apply_affine
from monai_microchange._shipped import shipped_bundle
from monai_microchange.apps.series_screen import print_series_summary
from monai_microchange.data import InputError
from monai_microchange.enums import VISITS, ResultFile
from monai_microchange.export import write_nifti
from monai_microchange.series import SeriesFile, SeriesResult, compare_series, write_series_result
from monai_microchange.series.folder import check_series_output

from .ball import AFFINE, PLACES, pose, scan


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The shipped bundle with 2 mm voxels and, as its network, one minus the other."""
    folder = tmp_path_factory.mktemp("bundle") / "difference"
    shutil.copytree(shipped_bundle(), folder, ignore=shutil.ignore_patterns("runs", "models", "evaluation"))
    config = folder / "configs" / "inference.yaml"
    before, network, after = config.read_text().partition("network_def:\n")
    after = after[after.index("network:") :]
    definition = "  {_target_: torch.nn.Conv3d, in_channels: 4, out_channels: 3, kernel_size: 1}\n"
    text = (before + network + definition + after).replace("spacing_mm: 1.0", "spacing_mm: 2.0")
    # nothing is known of how sure such weights are
    text = text.replace("confidence: auto", "confidence: none")
    config.write_text(text.replace("false_per_pair: 0.1", "false_per_pair: null"))
    weight = torch.zeros(3, 4, 1, 1, 1)
    weight[1, 0], weight[1, 2], weight[2, 0], weight[2, 2] = -8, 8, 8, -8
    (folder / "models").mkdir()
    torch.save({"weight": weight, "bias": torch.tensor([0.0, -8.0, -8.0])}, folder / "models" / "model.pt")
    return folder


@pytest.fixture(scope="module")
def visits(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("visits")
    for number in range(3):
        write_nifti(folder / f"visit{number + 1}.nii.gz", scan(number), AFFINE)
    return [str(folder / f"visit{number}.nii.gz") for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def told() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def result(bundle, visits, told, tmp_path_factory) -> SeriesResult:
    target = tmp_path_factory.mktemp("series") / "out"
    progress = lambda stage, share: told.append((stage, share))  # noqa: E731
    return compare_series(visits, target, bundle=bundle, roi="none", progress=progress)


def test_visits_are_where_they_were_put(result):
    points = np.stack(np.meshgrid(*[[-20.0, 0.0, 20.0]] * 3), axis=-1).reshape(-1, 3)
    for a, b in combinations(range(3), 2):
        found = result.visits[b].mid_to_visit @ np.linalg.inv(result.visits[a].mid_to_visit)
        at = apply_affine(pose(a), points)
        error = np.linalg.norm(apply_affine(found, at) - apply_affine(pose(b), points), axis=1)
        assert error.mean() < 0.3
    assert result.loop_closure_mm < 0.5


def test_all_pairs_lie_on_one_grid(result):
    assert list(result.pairs) == [(1, 2), (2, 3), (1, 3)]
    for (a, b), pair in result.pairs.items():
        np.testing.assert_array_equal(pair.change.affine, result.lesion_ids.affine)
        assert pair.change.shape == result.lesion_ids.shape
        for visit, number in zip(VISITS, (a, b), strict=True):
            np.testing.assert_array_equal(pair.space.mid_to(visit), result.visits[number - 1].mid_to_visit)
            torch.testing.assert_close(getattr(pair, visit), result.visits[number - 1].scan)


def test_lesions_are_followed_through(result):
    """Each planted lesion has one number, and its course; its place is found in the first visit's own space."""
    for name, place in PLACES.items():
        in_common = apply_affine(np.linalg.inv(result.visits[0].mid_to_visit) @ pose(0), np.array(place))
        index = np.rint(apply_affine(np.linalg.inv(result.lesion_ids.affine.numpy()), in_common)).astype(int)
        lesion = result.lesions[int(result.lesion_ids[0][tuple(index)]) - 1]
        volumes = np.array(lesion.volumes_mm3)
        if name == "grows":
            assert (np.diff(volumes) > 0).all()
            assert {lesion.type_name(pair) for pair in result.pairs} <= {"new", "enlarging"}
        if name == "passes":
            assert [lesion.type_name(pair) for pair in result.pairs] == ["new", "resolved", ""]
            assert volumes[0] == volumes[2] == 0 < volumes[1]
        if name == "stays":
            assert volumes.min() > 0.7 * volumes.max()


def test_folder_holds_every_file_and_no_other(result):
    ours = {name.format(visit=visit) for name in ResultFile for visit in VISITS}
    files = {str(path.relative_to(result.folder)) for path in result.folder.rglob("*") if path.is_file()}
    for pair, of_pair in zip(("01_02", "02_03", "01_03"), result.pairs.values(), strict=True):
        inside = {name.removeprefix(f"pairs/{pair}/") for name in files if name.startswith(f"pairs/{pair}/")}
        assert inside <= ours
        assert {ResultFile.PROVENANCE, ResultFile.TABLE, ResultFile.SEGMENTATION, ResultFile.MID_CHANGE} <= inside
        assert of_pair.folder == result.folder / "pairs" / pair
    of_visits = {
        file.format(visit=f"{number:02d}")
        for number in (1, 2, 3)
        for file in (SeriesFile.SCAN, SeriesFile.LESION, SeriesFile.LESION_IDS, SeriesFile.TRANSFORM)
    }
    assert {name for name in files if not name.startswith("pairs/")} == {*of_visits, "series.csv", "series.json"}
    assert [path.name for path in result.folder.parent.iterdir()] == ["out"]


def test_transforms_bring_the_scans_into_the_common_space(result, visits):
    """Read with SimpleITK alone, as another program would."""
    for number, path in enumerate(visits, start=1):
        files = (SeriesFile.SCAN, SeriesFile.TRANSFORM)
        scan_file, transform_file = (str(result.folder / file.format(visit=f"{number:02d}")) for file in files)
        common, transform = sitk.ReadImage(scan_file), sitk.ReadTransform(transform_file)
        moved = sitk.GetArrayFromImage(sitk.Resample(sitk.ReadImage(path), common, transform, sitk.sitkLinear))
        difference = np.abs(moved - sitk.GetArrayFromImage(common))[moved > 20]
        assert np.median(difference) < 0.1


def test_numbers_agree_in_tables_and_maps(result):
    with open(result.folder / SeriesFile.TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(result.lesions)
    for number in (1, 2, 3):
        image = nib.load(result.folder / SeriesFile.LESION_IDS.format(visit=f"{number:02d}"))
        size = np.bincount(np.asarray(image.dataobj).ravel(), minlength=len(result.lesions) + 1)[1:] * 8.0
        assert [float(row["volume_mm3"]) for row in rows if row["visit"] == str(number)] == pytest.approx(size)
    for pair, of_pair in result.pairs.items():
        with open(of_pair.folder / ResultFile.TABLE, newline="") as file:
            listed = {int(row["id"]): row["type"] for row in csv.DictReader(file)}
        assert listed == {lesion.id: lesion.type_name(pair) for lesion in result.lesions if pair in lesion.rows}


def test_record_says_how_well_the_visits_fit_and_names_no_file(result, visits):
    text = (result.folder / SeriesFile.PROVENANCE).read_text()
    facts = json.loads(text)
    assert facts == result.provenance | {"seconds": facts["seconds"]}
    assert [visit["number"] for visit in facts["visits"]] == [1, 2, 3]
    assert all(0.9 < visit["brain_share_in_common_grid"] <= 1 for visit in facts["visits"])
    assert len({visit["sha256"]["FLAIR"] for visit in facts["visits"]}) == 3
    assert [pair["folder"] for pair in facts["pairs"]] == ["pairs/01_02", "pairs/02_03", "pairs/01_03"]
    assert len(facts["alignment"]["registrations"]) == 3
    assert facts["alignment"]["loop_closure_mm"] == pytest.approx(result.loop_closure_mm, abs=1e-4)
    assert str(Path(visits[0]).parent) not in text
    of_pair = json.loads((result.folder / "pairs" / "02_03" / ResultFile.PROVENANCE).read_text())
    assert of_pair["series"]["visits"] == [2, 3]
    assert of_pair["counts"] == result.pairs[2, 3].counts


def test_progress_names_the_pairs(result, told):
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages[:4] == ["reading", "anatomy", "alignment", "quality"]
    assert [stage for stage in stages if stage.startswith("visits")] == [f"visits {a} and {b}" for a, b in result.pairs]
    assert all(0 <= share <= 1 for _, share in told)


def test_summary_is_one_screen(result):
    console = Console(width=110, record=True, file=io.StringIO())
    print_series_summary(result, console)
    text = console.export_text()
    assert "Visits 1 and 3" in text
    assert "new, resolved" in text
    assert text.count("\n") <= 40


def test_earlier_series_is_replaced_only_when_asked(result, tmp_path):
    target = write_series_result(tmp_path / "out", result).folder
    with pytest.raises(InputError, match="--overwrite"):
        check_series_output(target)
    check_series_output(target, overwrite=True)
    (target / "visits" / "01" / "notes.txt").write_text("hours of work")
    with pytest.raises(InputError, match="other files"):
        write_series_result(target, result, overwrite=True)
    assert (target / "visits" / "01" / "notes.txt").exists()


def test_failed_series_leaves_nothing_behind(tmp_path, visits):
    with pytest.raises(InputError, match=r"visit 3: missing\.nii\.gz"):
        compare_series([*visits[:2], "missing.nii.gz"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_same_scan_at_two_visits_is_refused(visits):
    with pytest.raises(InputError, match=r"visits 1 \(baseline\) and 3 \(followup\).*the same FLAIR twice"):
        compare_series([visits[0], visits[1], visits[0]])


def test_all_refused_pairs_are_named_before_the_first_is_compared(bundle, tmp_path):
    """An inversion time of a T1 image at the second visit, by its JSON file, forbids the pairs it is in."""
    for number in range(3):
        write_nifti(tmp_path / f"visit{number + 1}.nii.gz", scan(number), AFFINE)
        (tmp_path / f"visit{number + 1}.json").write_text(json.dumps({"InversionTime": 0.9 if number == 1 else 2.5}))
    paths, told = [tmp_path / f"visit{number}.nii.gz" for number in (1, 2, 3)], []
    with pytest.raises(InputError, match="do not compare") as raised:
        compare_series(paths, bundle=bundle, roi="none", progress=lambda stage, share: told.append(stage))
    refused = [line.partition(" (")[0] for line in str(raised.value).splitlines()]
    assert refused == ["visits 1 and 2", "visits 2 and 3"]
    assert set(told) == {"reading", "anatomy", "alignment", "quality"}


def test_bundle_of_several_modalities_is_refused_at_once(bundle, visits, tmp_path):
    shutil.copytree(bundle, tmp_path / "two")
    config = tmp_path / "two" / "configs" / "inference.yaml"
    config.write_text(config.read_text().replace("modalities: [FLAIR]", "modalities: [FLAIR, T1]"))
    told = []
    with pytest.raises(InputError, match=r"FLAIR, T1 together.*two at a time"):
        compare_series(visits, bundle=tmp_path / "two", progress=lambda stage, share: told.append(stage))
    assert told == []


@pytest.mark.parametrize("option", ["brain_mask", "followup_lesions", "baseline_series", "deformable"])
def test_options_of_two_visits_are_refused(option, visits):
    with pytest.raises(InputError, match=f"{option}: can be used with two visits only"):
        compare_series(visits, **{option: True if option == "deformable" else "x"})


def test_the_package_offers_it():
    assert monai_microchange.compare_series is compare_series


def test_scans_by_modality_are_refused(visits):
    with pytest.raises(InputError, match="visit 2: expected one path, got dict"):
        compare_series([visits[0], {"FLAIR": visits[1]}, visits[2]])
