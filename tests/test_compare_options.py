# SPDX-License-Identifier: Apache-2.0
"""Options of a comparison: what they replace in a bundle, and what is refused."""

from pathlib import Path

import pytest

from monai_microchange.data import InputError
from monai_microchange.options import CompareOptions


def test_nothing_chosen_leaves_the_bundle_alone():
    assert CompareOptions().settings() == {}


def test_settings_are_what_was_chosen():
    options = CompareOptions(
        weights="other.pt",
        false_per_pair=0.5,
        roi="none",
        degrees_of_freedom=12,
        deformable=True,
        force=True,
        overwrite=True,
    )
    assert options.settings() == {
        "weights": str(Path("other.pt").absolute()),
        "roi": "none",
        "false_per_pair": 0.5,
        "degrees_of_freedom": 12,
        "deformable": True,
        "force": True,
    }


def test_settings_have_a_place_in_the_shipped_bundle():
    from monai.bundle import ConfigParser

    from monai_microchange._shipped import shipped_bundle

    config = ConfigParser.load_config_file(str(shipped_bundle() / "configs" / "inference.yaml"))
    options = CompareOptions(weights="a", device="cpu", roi="none", baseline_series="1", followup_series="2")
    assert set(options.settings()) <= set(config)
    more = CompareOptions(false_per_pair=1.0, degrees_of_freedom=7, deformable=True, force=True, allow_identical=True)
    assert set(more.settings()) <= set(config)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"roi": "liver"}, "roi: expected brain or none"),
        ({"device": "tpu"}, "device: expected auto, cpu or cuda"),
        ({"false_per_pair": 0.0}, "false_per_pair: expected a number above 0, got 0"),
        ({"false_per_pair": float("nan")}, "false_per_pair: expected a number above 0, got nan"),
        ({"degrees_of_freedom": 8}, "degrees_of_freedom: expected 6, 7, 9, 12, got 8"),
        ({"baseline_series": "$open('x')"}, "series: expected a UID"),
    ],
)
def test_values_that_no_option_has(option, message):
    with pytest.raises(InputError, match=message):
        CompareOptions(**option)
