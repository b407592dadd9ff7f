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


def test_names_do_not_tell_where_the_data_lies(tmp_path):
    for case in ("one", "two"):
        (tmp_path / "secret" / case).mkdir(parents=True)
        (tmp_path / "secret" / case / "scan.nii").write_text(case)
    items = [{"image": str(tmp_path / "secret" / case / "scan.nii")} for case in ("one", "two")]
    assert hash_inputs(items, tmp_path / "elsewhere") == {"one/scan.nii": sha("one"), "two/scan.nii": sha("two")}


def test_no_hash_is_lost_to_a_name_used_twice():
    merged = merge_inputs({"a": "1"}, {"a": "2"}, {"a": "3"}, {"a": "2"})
    assert sorted(merged.values()) == ["1", "2", "3"]
