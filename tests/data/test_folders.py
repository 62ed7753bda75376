"""Files below a folder: each once on every way to it, and no walk without an end."""

import os

import pytest

from dab_detr.data.folders import files_below


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return root


def found(root) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in files_below(root))


def test_hidden_files_and_those_of_systems_are_left_out(tmp_path):
    make(tmp_path, "a", "d/b", ".h", "d/._b", ".d/c", "__MACOSX/c", "d/@eaDir/c")
    assert found(tmp_path) == ["a", "d/b"]


def test_a_folder_that_is_hidden_itself_is_read(tmp_path):
    assert found(make(tmp_path / ".cache" / "set", "a")) == ["a"]


def test_what_is_no_file_is_left_out_and_a_lost_link_is_listed(tmp_path):
    make(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    assert found(tmp_path) == ["a", "itself", "lost"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "../q", "/"])
def test_links_that_lead_back_are_not_followed(tmp_path, target):
    make(tmp_path / "r", "p/q/a")
    (tmp_path / "r" / "p" / "q" / "link").symlink_to(target)
    assert found(tmp_path / "r") == ["p/q/a"]


def test_links_that_lead_to_each_other_end(tmp_path):
    make(tmp_path, "p/a", "q/b")
    (tmp_path / "p" / "x").symlink_to("../q")
    (tmp_path / "q" / "y").symlink_to("../p")
    assert found(tmp_path) == ["p/a", "p/x/b", "q/b", "q/y/a"]


def test_links_to_other_places_are_followed_whatever_they_are_called(tmp_path):
    make(tmp_path / "set", "a")
    make(tmp_path / "settled", "b")
    for name in ("one", "two"):
        (tmp_path / "settled" / name).symlink_to("../set")
    assert found(tmp_path / "settled") == ["b", "one/a", "two/a"]


def test_a_link_to_the_folder_is_as_the_folder(tmp_path):
    make(tmp_path / "set", "d/a")
    (tmp_path / "link").symlink_to("set")
    assert found(tmp_path / "link") == ["d/a"]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    make(tmp_path, "a", "locked/b")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="locked"):
        found(tmp_path)
