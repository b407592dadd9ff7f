# SPDX-License-Identifier: Apache-2.0
"""The clock of the stages."""

import pytest

from monai_microchange.stages import STAGES, StageClock


def test_seconds_of_a_stage_add_up():
    clock = StageClock(None)
    for _ in range(2):
        with clock.stage("reading"):
            pass
    assert set(clock.seconds) == {"reading"}
    assert clock.seconds["reading"] >= 0


def test_a_stage_that_fails_is_not_told_as_done():
    told = []
    clock = StageClock(lambda stage, share: told.append((stage, share)))
    with pytest.raises(KeyError), clock.stage("network"):
        raise KeyError
    assert told == [("network", 0.0)]
    assert "network" in clock.seconds


def test_every_transform_of_the_shipped_bundle_has_a_stage():
    from monai.bundle import ConfigParser

    from monai_microchange._shipped import shipped_bundle

    config = ConfigParser.load_config_file(str(shipped_bundle() / "configs" / "inference.yaml"))
    steps = [*config["preprocessing"]["transforms"], *config["postprocessing"]["transforms"]]
    assert {step["_target_"].rsplit(".", 1)[-1] for step in steps} <= set(STAGES)
