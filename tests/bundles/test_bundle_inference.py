# SPDX-License-Identifier: Apache-2.0
"""`inference.yaml` and `evaluate.yaml` run from any folder."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_microchange._shipped import shipped_bundle
from monai_microchange.enums import VISITS, Anatomy, ResultFile
from monai_microchange.evaluation import PairEvaluation
from monai_microchange.export import write_nifti
from monai_microchange.metrics import label_components

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LESION = (slice(18, 20), slice(9, 11), slice(11, 13))


class Same:
    """A workflow that has the result already."""

    def __init__(self, result):
        self.result = result

    def run(self, pair, output_dir, *, overwrite=False):
        return self.result


@pytest.fixture
def pair(tmp_path):
    """A textured ball of 44 mm at two visits with noise of their own, and the label of a voxelwise lesion."""
    draw = np.random.RandomState(0)
    place = np.indices((28, 28, 28)) - 13.5
    blobs = sum(np.exp(-((place - c[:, None, None, None]) ** 2).sum(axis=0) / 8) for c in draw.uniform(-9, 9, (25, 3)))
    ball = np.where((place**2).sum(axis=0) < 11**2, 60 + 40 * blobs, 0)
    for visit in VISITS:
        scan = ball + draw.normal(0, 0.5, ball.shape)
        scan[LESION] += 60 * (visit == "followup")
        write_nifti(tmp_path / f"{visit}.nii.gz", scan.astype(np.float32), AFFINE)
    label = np.zeros(ball.shape, np.uint8)
    label[LESION] = 1
    write_nifti(tmp_path / "label.nii.gz", label, AFFINE)
    return tmp_path


@pytest.fixture
def weights(change_bundle, read_config, tmp_path):
    """Weights that never see change: no score, and a margin that is far from it."""
    network = read_config(change_bundle, "inference.yaml").get_parsed_content("network_def")
    for head in network.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, 5.0)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_the_command_compares_a_pair_from_any_folder(change_bundle, pair, weights, elsewhere):
    """In a process of its own, as a user starts it."""
    options = {
        "config_file": change_bundle / "configs" / "inference.yaml",
        "bundle_root": change_bundle,
        "weights": weights,
        "baseline": pair / "baseline.nii.gz",
        "followup": pair / "followup.nii.gz",
        "output_dir": "result",
        "roi": "none",
        "spacing_mm": "2.0",
        "device": "cpu",
    }
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    finished = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["result"]
    facts = json.loads((elsewhere / "result" / ResultFile.PROVENANCE).read_text())
    assert facts["bundle"]["name"] == "ms_lesion_change"
    assert facts["counts"]["new"] == 0


def test_an_evaluation_scores_a_list_of_ones_own(change_bundle, pair, weights, elsewhere, capsys):
    case = {"baseline": "baseline.nii.gz", "followup": "followup.nii.gz", "label": "label.nii.gz"}
    (pair / "cases.json").write_text(json.dumps([case]))
    evaluation = ConfigWorkflow(
        config_file=[str(change_bundle / "configs" / name) for name in ("inference.yaml", "evaluate.yaml")],
        logging_file=False,
        workflow_type=None,
        bundle_root=str(change_bundle),
        weights=str(weights),
        datalist=str(pair / "cases.json"),
        output_dir="scores",
        roi="none",
        spacing_mm=2.0,
        device="cpu",
    )
    evaluation.initialize()
    evaluation.run()
    scores = json.loads((elsewhere / "scores" / "scores.json").read_text())
    either, gain, loss = scores["cases"][:3]
    assert (either["n_reference"], either["n_predicted"], either["sensitivity"], either["precision"]) == (
        1,
        0,
        0.0,
        None,
    )
    assert gain["dice"] == 0.0
    assert loss["dice"] is None
    assert (elsewhere / "scores" / "case1" / ResultFile.MID_CHANGE).is_file()
    assert "case1" in capsys.readouterr().out


def test_the_anatomy_of_a_scan_lies_on_its_grid(sample, elsewhere):
    bundle = shipped_bundle("head_anatomy")
    labelling = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.yaml"),
        logging_file=False,
        workflow_type=None,
        bundle_root=str(bundle),
        image=str(sample / "baseline.nii.gz"),
        device="cpu",
    )
    labelling.initialize()
    labelling.run()
    scan, anatomy = nib.load(sample / "baseline.nii.gz"), nib.load(elsewhere / "anatomy.nii.gz")
    assert anatomy.shape == scan.shape
    np.testing.assert_allclose(anatomy.affine, scan.affine, atol=1e-4)
    labels = np.asarray(anatomy.dataobj)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == set(Anatomy)
    # an adult's brain has 0.9 to 1.8 litres, the phantom's is the average of many
    litres = (labels > 0).sum() * np.prod(anatomy.header.get_zooms()) * 1e-6
    assert 0.9 < litres < 2.2


@pytest.mark.slow
def test_the_sample_is_scored_against_its_truth(change_bundle, sample, sample_result, elsewhere, read_config):
    """The default datalist, with the trained weights."""
    datalist = read_config(change_bundle, "inference.yaml", "evaluate.yaml").get_parsed_content("datalist")
    rows = PairEvaluation(Same(sample_result)).run(datalist, elsewhere)
    truth = np.asarray(nib.load(sample / "truth.nii.gz").dataobj)
    _, count = label_components(truth > 0, spacing_mm=(1, 1, 1))
    assert [row["change"] for row in rows][:3] == ["any", "gain", "loss"]
    assert rows[0]["n_reference"] == count
    assert rows[0]["f1"] > 0
