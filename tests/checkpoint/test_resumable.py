"""The checkpoint to resume from is the last one, or the newest that is whole."""

import pytest
import torch

from dab_detr.checkpoint.resumable import newest, states


@pytest.fixture
def folder(tmp_path):
    for name, iteration in (("0000009", 9), ("0000019", 19), ("final", 24), ("0000029", 29)):
        torch.save({"model": {"x": torch.zeros(500)}, "iteration": iteration}, tmp_path / f"model_{name}.pth")
    for name in ("model_best.pth", "model_final_ema.pth"):
        torch.save({"model": {}, "iteration": 99}, tmp_path / name)
    (tmp_path / "last_checkpoint").write_text("model_0000029.pth")
    return tmp_path


def damage(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(x ^ 255 for x in content[middle : middle + 400])
    path.write_bytes(content)


def test_the_last_one_in_silence(folder, caplog):
    assert newest(folder).name == "model_0000029.pth" and not caplog.text


@pytest.mark.parametrize("harm", ["no tag", "empty tag", "missing", "damaged", "cut", "empty"])
def test_otherwise_the_newest_whole_one_with_a_warning(folder, caplog, harm):
    last, tag = folder / "model_0000029.pth", folder / "last_checkpoint"
    if "tag" in harm:
        last.unlink()
        tag.unlink() if harm == "no tag" else tag.write_text("")
    elif harm == "missing":
        last.unlink()
    elif harm == "damaged":
        damage(last)
    else:
        last.write_bytes(last.read_bytes()[: 300 * (harm == "cut")])
    assert newest(folder).name == "model_final.pth"
    assert "The newest intact one is model_final.pth, after 25 iterations" in caplog.text


def test_damaged_ones_are_passed_over(folder):
    for name in ("0000029", "final", "0000019"):
        damage(folder / f"model_{name}.pth")
    assert newest(folder).name == "model_0000009.pth"


def test_nothing_whole_is_an_error_and_nothing_at_all_is_none(folder, tmp_path):
    assert newest(tmp_path / "nowhere") is None
    for path in states(folder):
        damage(path)
    with pytest.raises(ValueError, match="none of them can be read: model_0000009.pth, "):
        newest(folder)
