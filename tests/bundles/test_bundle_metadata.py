# SPDX-License-Identifier: Apache-2.0
"""Metadata: complete, valid offline from any folder, and in agreement with configurations and package."""

import json
import re

import jsonschema
import pytest
from monai.bundle import verify_metadata

import monai_microchange

FILES = (
    "LICENSE",
    "configs/inference.yaml",
    "configs/logging.conf",
    "configs/metadata.json",
    "configs/meta_schema.json",
    "configs/train.yaml",
    "docs/README.md",
    "docs/data_license.txt",
)


@pytest.fixture
def metadata(bundle):
    return json.loads((bundle / "configs" / "metadata.json").read_text())


@pytest.fixture
def schema(bundle):
    return json.loads((bundle / "configs" / "meta_schema.json").read_text())


def test_a_bundle_is_complete(bundle):
    assert [name for name in FILES if not (bundle / name).is_file()] == []


def test_verified_offline_from_any_folder(bundle, elsewhere):
    configs = bundle / "configs"
    verify_metadata(str(configs / "metadata.json"), filepath=str(configs / "meta_schema.json"))


def test_verified_offline_from_the_bundle_with_a_copy_of_the_schema(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(bundle)
    verify_metadata("configs/metadata.json", filepath=str(tmp_path / "schema.json"))
    assert (tmp_path / "schema.json").read_bytes() == (bundle / "configs" / "meta_schema.json").read_bytes()


def test_a_fault_is_noticed(bundle, metadata, elsewhere):
    broken = elsewhere / "metadata.json"
    broken.write_text(json.dumps({**metadata, "version": "first"}))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(str(broken), filepath=str(bundle / "configs" / "meta_schema.json"))


def test_the_schema_asks_for_every_key(metadata, schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    for key in metadata:
        with pytest.raises(jsonschema.ValidationError, match=f"'{key}' is a required property"):
            jsonschema.validate({name: value for name, value in metadata.items() if name != key}, schema)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("optional_packages_version",), {}),
        (("changelog",), {}),
        (("eval_metrics",), {"dice": "good"}),
        (("network_data_format", "inputs", "image", "num_channels"), 0),
        (("network_data_format", "outputs", "pred", "dtype"), "float"),
        (("network_data_format", "outputs", "pred", "channel_def"), {"none": "0"}),
    ],
)
def test_the_schema_refuses(metadata, schema, place, value):
    inside = metadata
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(metadata, schema)


def test_measured_figures_have_a_place(metadata, schema):
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({**metadata, "eval_metrics": {"patient01": {"dice": 0.5, "f1": 0.5}}})
    assert not validator.is_valid({**metadata, "eval_metrics": {"patient01": {"dice": "good"}}})


def test_versions_agree(metadata):
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["monai-microchange"] == monai_microchange.__version__


def test_channels_agree_with_the_network(bundle, metadata, read_config):
    parser, form = read_config(bundle, "inference.yaml"), metadata["network_data_format"]
    for tensor, count in ((form["inputs"]["image"], "in_channels"), (form["outputs"]["pred"], "out_channels")):
        channels = parser.get_parsed_content(f"network_def#{count}")
        assert tensor["num_channels"] == channels
        assert list(tensor["channel_def"]) == [str(i) for i in range(channels)]


def test_the_readme_documents_every_command(bundle):
    text = (bundle / "docs" / "README.md").read_text()
    configs = {path.name for path in (bundle / "configs").glob("*.yaml")}
    assert configs <= set(re.findall(r"\w+\.yaml", text))
    for command in ("run", "verify_metadata", "verify_net_in_out", "ckpt_export"):
        assert f"python -m monai.bundle {command} " in text
