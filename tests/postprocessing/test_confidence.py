# SPDX-License-Identifier: Apache-2.0
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from monai_microchange.data import InputError
from monai_microchange.postprocessing import CANDIDATE_FEATURES, ConfidenceModel, OperatingPoint, load_confidence

N = len(CANDIDATE_FEATURES)
CURVE = (OperatingPoint(0.0, 3.0, 0.9), OperatingPoint(0.4, 0.5, 0.7), OperatingPoint(0.8, 0.1, 0.5))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(5)
    features = rng.normal(2.0, 3.0, (4000, N))
    truth = rng.random(4000) < expit(1.5 * (features[:, 0] - 2) / 3 - 0.5)
    return features, truth


@pytest.fixture(scope="module")
def model(drawn):
    return replace(ConfidenceModel.fit(*drawn), curve=CURVE)


def test_fit_finds_the_probabilities_that_the_data_were_drawn_with(drawn, model):
    features, _ = drawn
    expected = expit(1.5 * (features[:, 0] - 2) / 3 - 0.5)
    assert np.abs(model(features) - expected).mean() < 0.03
    assert model.weights[0] == pytest.approx(1.5, abs=0.15)


def test_no_component_has_no_confidence(model):
    assert model(np.zeros((0, N))).shape == (0,)


@pytest.mark.parametrize(("rate", "least"), [(math.inf, 0.0), (3.0, 0.0), (1.0, 0.4), (0.5, 0.4), (0.1, 0.8)])
def test_least_confidence_is_the_first_point_that_is_strict_enough(model, rate, least):
    assert model.least_confidence(rate) == least


def test_stricter_than_measured_is_refused(model):
    with pytest.raises(InputError, match=r"expected at least 0\.1, the strictest that was measured; got 0\.01"):
        model.least_confidence(0.01)


def test_without_a_curve_there_is_no_rate(model):
    with pytest.raises(InputError, match="got one without"):
        replace(model, curve=()).least_confidence(0.1)


def test_written_is_read_again(model, tmp_path):
    model.write(tmp_path / "confidence.json", {"pairs": 3})
    assert ConfidenceModel.read(tmp_path / "confidence.json") == model


def test_features_of_another_version_are_refused(model, tmp_path):
    path = tmp_path / "confidence.json"
    model.write(path)
    held = json.loads(path.read_text())
    held["features"][0]["name"] = "weight_of_the_moon"
    path.write_text(json.dumps(held))
    with pytest.raises(InputError, match="got weight_of_the_moon"):
        ConfidenceModel.read(path)


@pytest.mark.parametrize("text", ["", "{}", '{"features": 3}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="expected a fitted confidence"):
        ConfidenceModel.read(tmp_path / "x.json")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a fitted confidence"):
        ConfidenceModel.read(tmp_path / "none.json")


def test_true_ones_alone_cannot_be_fitted():
    with pytest.raises(ValueError, match="got 3 true of 3"):
        ConfidenceModel.fit(np.zeros((3, N)), np.ones(3))


def test_curve_out_of_order_is_refused(model):
    with pytest.raises(ValueError, match="rising"):
        replace(model, curve=CURVE[::-1])


def test_confidence_beside_the_weights_comes_first(model, tmp_path):
    weights, shipped = tmp_path / "mine.pt", tmp_path / "model.confidence.json"
    replace(model, bias=-1.0).write(shipped)
    assert load_confidence("auto", weights, shipped) == replace(model, bias=-1.0, of_other_weights=True)
    model.write(tmp_path / "mine.confidence.json")
    assert load_confidence("auto", weights, shipped) == model
    assert load_confidence(shipped, weights, "nowhere") == replace(model, bias=-1.0)
    assert load_confidence("none", weights, shipped) is None
