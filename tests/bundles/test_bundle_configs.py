# SPDX-License-Identifier: Apache-2.0
"""Each configuration parses, says the same as its neighbours, and keeps the test scans out of training."""

import importlib
import inspect
import pkgutil
import pydoc

import pytest
from monai.bundle import ComponentLocator

import monai_microchange
from monai_microchange._shipped import shipped_bundle
from monai_microchange.networks.weights import file_sha256, training_record

CONFIGS = [
    ("ms_lesion_change", "train.yaml"),
    ("ms_lesion_change", "train.yaml", "multi_gpu_train.yaml"),
    ("ms_lesion_change", "train.yaml", "finetune.yaml"),
    ("ms_lesion_change", "train.yaml", "real_pairs.yaml"),
    ("ms_lesion_change", "inference.yaml"),
    ("ms_lesion_change", "inference.yaml", "evaluate.yaml"),
    ("head_anatomy", "train.yaml"),
    ("head_anatomy", "inference.yaml"),
]
HELD_OUT = ("patient01", "patient19")


def targets(config):
    """Every `_target_` of a configuration."""
    if isinstance(config, dict):
        own = [config["_target_"]] if "_target_" in config else []
        return own + [name for value in config.values() for name in targets(value)]
    return [name for value in config for name in targets(value)] if isinstance(config, list) else []


def shapes(parser):
    return {name: tuple(value.shape) for name, value in parser.get_parsed_content("network_def").state_dict().items()}


@pytest.mark.parametrize(("bundle", "names"), [(c[0], c[1:]) for c in CONFIGS], ids=["-".join(c) for c in CONFIGS])
def test_a_config_parses_and_all_it_names_exists(bundle, names, read_config):
    parser = read_config(shipped_bundle(bundle), *names)
    parser.parse()
    locator = ComponentLocator()
    for target in targets(parser.get()):
        # a short name of ours would depend on what was imported before
        module = locator.get_component_module_name(target) if "." not in target else "monai."
        assert str(module).startswith("monai."), target
        assert "." not in target or pydoc.locate(target) is not None, target


def test_no_public_name_is_one_of_monais():
    """A short `_target_` of MONAI's stays unambiguous beside this package."""
    locator, taken = ComponentLocator(excludes="monai_microchange"), []
    assert locator.get_component_module_name("DisplacementField") is not None
    for info in pkgutil.walk_packages(monai_microchange.__path__, "monai_microchange."):
        if info.name.endswith("__main__"):
            continue
        for name, thing in inspect.getmembers(importlib.import_module(info.name)):
            own = (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == info.name
            if own and not name.startswith("_") and locator.get_component_module_name(name) is not None:
                taken.append(f"{info.name}.{name}")
    assert not taken


def test_training_and_inference_have_one_network(bundle, read_config):
    assert shapes(read_config(bundle, "train.yaml")) == shapes(read_config(bundle, "inference.yaml"))


def test_an_evaluation_has_every_option_of_inference(change_bundle, read_config):
    alone, evaluation = (
        read_config(change_bundle, "inference.yaml"),
        read_config(change_bundle, "inference.yaml", "evaluate.yaml"),
    )
    assert set(alone.get()) < set(evaluation.get())
    assert {key for key, value in alone.get().items() if evaluation[key] != value} == {"output_dir", "run"}


def test_no_pair_with_expert_masks_is_trained_on(change_bundle, read_config):
    """The cross-sectional data set numbers other patients; of the longitudinal one no two visits are of one patient."""
    images = [scan["image"] for scan in read_config(change_bundle, "train.yaml")["scans"]]
    patients = [image.split("/")[1] for image in images if image.startswith("ljubljana_longitudinal/")]
    assert len(patients) > 0
    assert not set(patients) & set(HELD_OUT)
    assert len(patients) == len(set(patients))


@pytest.mark.real
def test_every_scan_that_is_trained_on_is_there(change_bundle, read_config, real_data):
    for scan in read_config(change_bundle, "train.yaml")["scans"]:
        assert (real_data / scan["image"]).is_file()


@pytest.mark.real
@pytest.mark.parametrize(("fold", "learnt"), [(0, ["patient19"]), (1, ["patient01"]), (None, list(HELD_OUT))])
def test_a_fold_of_the_real_pairs_is_held_out(change_bundle, read_config, real_data, monkeypatch, fold, learnt):
    monkeypatch.setenv("MICROCHANGE_DATA", str(real_data))
    parser = read_config(change_bundle, "train.yaml", "real_pairs.yaml")
    parser.update({"fold": fold})
    records = parser.get_parsed_content("train#pairs")
    assert [record["name"] for record in records] == learnt
    assert not any(record["label_signed"] for record in records)


def test_weights_say_what_they_learnt_from(change_bundle):
    """Both real pairs; the other one; none. All go on from the same."""
    models = change_bundle / "models"
    start = file_sha256(models / "simulated.pt")
    assert not [name for name in training_record(models / "simulated.pt")["inputs"] if name.startswith("pair")]
    held = {}
    for name in ("model", "without_patient01", "without_patient19"):
        record = training_record(models / f"{name}.pt")
        assert record["inputs_complete"]
        assert record["started_from_sha256"] == start
        assert (models / f"{name}.confidence.json").is_file()
        held[name] = {digest for file, digest in record["inputs"].items() if file.startswith("pair")}
    assert [len(held[name]) for name in held] == [6, 3, 3]
    assert held["model"] == held["without_patient01"] | held["without_patient19"]
