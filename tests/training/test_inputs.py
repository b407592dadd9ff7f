# SPDX-License-Identifier: Apache-2.0
"""Hashes of the files that a training reads."""

import hashlib

from monai_microchange.training import hash_inputs, merge_inputs


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_every_file_is_hashed_once_and_nothing_else(tmp_path):
    (tmp_path / "series").mkdir()
    for name in ("a.nii", "b.nii", "series/1.dcm", "series/2.dcm"):
        (tmp_path / name).write_text(name)
    items = [
        {"image": "a.nii", "thickness_mm": 3.0, "name": "series"},
        {"image": str(tmp_path / "a.nii"), "baseline": {"FLAIR": "series", "T1": "b.nii"}, "place": [[1.0, 0.0]]},
    ]
    assert hash_inputs(items, tmp_path) == {
        name: sha(name) for name in ("a.nii", "b.nii", "series/1.dcm", "series/2.dcm")
    }


def test_names_do_not_tell_whose_the_data_is(tmp_path):
    """Of scans elsewhere, and of pairs wherever they are."""
    for patient in ("ann", "bob"):
        (tmp_path / patient).mkdir()
        for visit in ("baseline", "followup"):
            (tmp_path / patient / visit).write_text(patient + visit)
    scans = [{"image": str(tmp_path / patient / "baseline")} for patient in ("ann", "bob")]
    assert hash_inputs(scans, tmp_path / "elsewhere") == {"file 1": sha("annbaseline"), "file 2": sha("bobbaseline")}
    pairs = [{visit: f"{patient}/{visit}" for visit in ("baseline", "followup")} for patient in ("ann", "bob")]
    assert hash_inputs(pairs, tmp_path, named=False) == {
        "pair 1": sha("annbaseline"),
        "pair 1 (2)": sha("annfollowup"),
        "pair 2": sha("bobbaseline"),
        "pair 2 (2)": sha("bobfollowup"),
    }


def test_a_link_keeps_its_name(tmp_path):
    (tmp_path / "store").write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scan.nii").symlink_to(tmp_path / "store")
    assert hash_inputs([{"image": "scan.nii"}], tmp_path / "data") == {"scan.nii": sha("x")}


def test_no_hash_is_lost_to_a_name_used_twice():
    merged = merge_inputs({"a": "1"}, {"a": "2"}, {"a": "3"}, {"a": "2"})
    assert sorted(merged.values()) == ["1", "2", "3"]
