# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
import torch

from monai_microchange.networks.weights import file_sha256, start_from, training_inputs, training_record, with_weights


def network():
    return torch.nn.Linear(2, 3)


@pytest.mark.parametrize("wrapped", [True, False])
def test_weights_are_loaded_and_the_network_is_ready_to_use(tmp_path, wrapped):
    source = network()
    state = source.state_dict()
    torch.save({"model": state} if wrapped else state, tmp_path / "w.pt")
    loaded = with_weights(network().train(), tmp_path / "w.pt")
    assert not loaded.training
    torch.testing.assert_close(loaded.weight, source.weight)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt: expected a file with trained weights"):
        with_weights(network(), tmp_path / "none.pt")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04broken"])
def test_file_that_holds_no_weights_is_refused(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.pt: expected weights of Linear"):
        with_weights(network(), tmp_path / "w.pt")


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torch.nn.Linear(5, 5).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="expected weights of Linear"):
        with_weights(network(), tmp_path / "w.pt")


def test_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


def test_training_starts_from_a_file_or_from_nothing(tmp_path):
    source = network()
    torch.save({"model": source.state_dict()}, tmp_path / "w.pt")
    started = start_from(network().eval(), tmp_path / "w.pt")
    assert started.training
    torch.testing.assert_close(started.weight, source.weight)
    own = network()
    before = own.weight.detach().clone()
    assert torch.equal(start_from(own, None).weight, before)


def test_a_record_is_read_and_its_absence_said(tmp_path):
    state = network().state_dict()
    record = {"inputs": {"scan.nii.gz": "12ab"}, "inputs_complete": True}
    torch.save({"model": state, "training": record}, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt")
    assert training_record(tmp_path / "new.pt") == record
    assert training_inputs(tmp_path / "new.pt") == {"scan.nii.gz": "12ab"}
    assert training_record(tmp_path / "old.pt") is None
    with pytest.raises(ValueError, match=r"old\.pt: expected the hashes of all scans"):
        training_inputs(tmp_path / "old.pt")


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(ValueError, match="expected trained weights; got a list"):
        training_record(tmp_path / "w.pt")
