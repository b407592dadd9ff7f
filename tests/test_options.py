# SPDX-License-Identifier: Apache-2.0
"""Options that change the way of the data: modalities, regions, the user's masks; on the sample."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_microchange._shipped import shipped_bundle
from monai_microchange.enums import VISITS
from monai_microchange.networks.nets import MicroChangeNet
from monai_microchange.pipeline import PairWorkflow, compare

pytestmark = pytest.mark.slow


def small_bundle(folder: Path, modalities: int = 1) -> Path:
    """The shipped bundle with a small network of random weights, for so many modalities."""
    shutil.copytree(shipped_bundle(), folder, ignore=shutil.ignore_patterns("runs", "models", "evaluation"))
    config = folder / "configs" / "inference.yaml"
    names = ["FLAIR", "T1"][:modalities]
    text = config.read_text().replace("modalities: [FLAIR]", f"modalities: [{', '.join(names)}]")
    text = text.replace("channels: [16, 32, 64, 96]", "channels: [4, 8, 8, 8]")
    # nothing is known of how sure such weights are
    text = text.replace("confidence: auto", "confidence: none")
    config.write_text(text.replace("false_per_pair: 0.1", "false_per_pair: null"))
    torch.manual_seed(0)
    network = MicroChangeNet(3, 4 * modalities, channels=(4, 8, 8, 8))
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def paths(sample: Path) -> list[str]:
    return [str(sample / f"{visit}.nii.gz") for visit in VISITS]


def test_modalities_reach_the_network_as_channels(sample, tmp_path, monkeypatch):
    seen = []
    infer = PairWorkflow._infer
    monkeypatch.setattr(
        PairWorkflow, "_infer", lambda self, image, tell: seen.append(image) or infer(self, image, tell)
    )
    sources = []
    for path in paths(sample):
        scan = nib.load(path)
        dark = nib.Nifti1Image(3000 - np.asarray(scan.dataobj, np.float32), scan.affine)
        nib.save(dark, tmp_path / f"t1_{Path(path).name}")
        sources.append({"FLAIR": path, "T1": str(tmp_path / f"t1_{Path(path).name}")})
    result = compare(*sources, bundle=small_bundle(tmp_path / "bundle", 2))
    assert result.provenance["inputs"]["baseline"]["modalities"] == ["FLAIR", "T1"]
    (image,) = seen
    assert image.shape[0] == 8
    # baseline FLAIR, baseline T1, follow-up FLAIR, follow-up T1: two channels each, T1 the negative of FLAIR here
    inside = result.assessed[0].numpy() > 0
    for flair, t1 in ((0, 2), (4, 6)):
        assert np.corrcoef(image[flair].numpy()[inside], image[t1].numpy()[inside])[0, 1] < -0.99


def test_masks_of_the_user_take_the_place_of_ours(sample, tmp_path):
    scans = [nib.load(path) for path in paths(sample)]
    half = np.zeros(scans[0].shape, np.uint8)
    half[: half.shape[0] // 2] = 1
    nib.save(nib.Nifti1Image(half, scans[0].affine), tmp_path / "half.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(scans[0].shape, np.uint8), scans[0].affine), tmp_path / "none.nii.gz")
    result = compare(
        *paths(sample),
        bundle=small_bundle(tmp_path / "bundle"),
        brain_mask=tmp_path / "half.nii.gz",
        baseline_lesions=tmp_path / "none.nii.gz",
    )
    assert result.provenance["region"] == "mask given by the user"
    assert result.provenance["lesion_source"]["baseline"] == "mask given by the user"
    assert not result.baseline_lesion.any()
    assert result.counts["enlarging"] == 0
    volume = float(half.sum()) * abs(np.linalg.det(scans[0].affine[:3, :3]))
    assert float(result.assessed.sum()) <= 1.01 * volume


def test_without_a_region_all_that_is_not_air_is_assessed(sample, tmp_path):
    result = compare(*paths(sample), bundle=small_bundle(tmp_path / "bundle"), roi="none")
    assert result.provenance["region"] == "all that is not air"
    assert {lesion.location for lesion in result.lesions} <= {"unknown"}
    assert float(result.assessed.float().mean()) > 0.2


def test_text_of_the_user_is_never_run(sample, tmp_path):
    code = f"$open(r'{tmp_path / 'ran'}', 'w')"
    for source in ([code, paths(sample)[1]], [paths(sample)[0], code]):
        with pytest.raises(ValueError, match="expected an image file"):
            compare(*source)
    with pytest.raises(ValueError, match="series"):
        compare(*paths(sample), baseline_series=code)
    assert not (tmp_path / "ran").exists()
