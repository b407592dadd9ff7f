# SPDX-License-Identifier: Apache-2.0
import pytest

from monai_microchange.data import InputError
from monai_microchange.enums import ResultFile
from monai_microchange.export import result_folder
from monai_microchange.export.result_folder import check_output, finished_folder, is_result_file, write_result


def test_new_and_empty_folders_may_be_used(tmp_path):
    assert check_output(tmp_path / "new") == tmp_path / "new"
    assert check_output(tmp_path) == tmp_path


def test_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="got a file"):
        check_output(tmp_path / "out", overwrite=True)


def test_overwriting_replaces_the_whole_folder(sample_result, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / ResultFile.PROVENANCE).write_text("{}")
    assert write_result(target, sample_result, overwrite=True) == target
    assert (target / ResultFile.PROVENANCE).read_text() != "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_with_files_of_the_user_is_never_replaced(tmp_path):
    (tmp_path / ResultFile.PROVENANCE).write_text("{}")
    (tmp_path / "scene.mrml").write_text("hours of work")
    with pytest.raises(InputError, match=r"other files \(scene\.mrml\)"):
        check_output(tmp_path, overwrite=True)


def test_current_folder_is_never_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the current"):
        check_output(".", overwrite=True)


def test_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert check_output(tmp_path / "link") == tmp_path / "real"


def test_failure_half_way_keeps_the_earlier_result_and_leaves_no_rest(sample_result, tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / ResultFile.PROVENANCE).write_text("{}")

    def disk_full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(result_folder, "write_table", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_result(target, sample_result, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in target.iterdir()] == [ResultFile.PROVENANCE]


def test_result_is_as_readable_as_any_new_folder(sample_result, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    written = write_result(tmp_path / "out", sample_result)
    assert written.stat().st_mode == plain.stat().st_mode


def test_names_of_result_files():
    assert is_result_file("mid/misalignment.nii.gz")
    assert is_result_file("transforms/followup_to_mid.tfm")
    assert not is_result_file("mid/{visit}.nii.gz")
    assert not is_result_file("notes.txt")


def test_others_may_say_what_belongs_to_a_result(tmp_path):
    (tmp_path / "visits").mkdir()
    (tmp_path / "visits" / "1.txt").write_text("")
    assert check_output(tmp_path, overwrite=True, is_ours=lambda name: name == "visits/1.txt") == tmp_path
    with pytest.raises(InputError, match="other files"):
        check_output(tmp_path, overwrite=True)


def test_unfinished_folder_leaves_nothing(tmp_path):
    def half(target):
        with finished_folder(target) as work:
            (work / "half.txt").write_text("")
            raise KeyError

    with pytest.raises(KeyError):
        half(tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []
    with finished_folder(tmp_path / "deep" / "out") as work:
        (work / "whole.txt").write_text("")
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["out", "whole.txt"]
