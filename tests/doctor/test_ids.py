"""Ids of a mended copy: as they were meant, however they were written."""

import json

import pytest

from coco_files import as_floats, write
from planted import dataset, every, images_of, mended, spoilt
from tools.check_dataset import main


def alike(x, y) -> bool:
    """Whether values are the same and of the same types."""
    return json.dumps(x) == json.dumps(y)


@pytest.mark.parametrize("way", [float, str, lambda i: str(float(i))], ids=["1.0", "'1'", "'1.0'"])
@pytest.mark.parametrize("keys", [["image_id"], ["category_id"], ["id"], ["image_id", "category_id"]])
def test_ids_that_pandas_writes(tmp_path, way, keys):
    data = spoilt(every(**{key: lambda x, key=key: way(x[key]) for key in keys}))
    write(tmp_path, "train", data)
    assert alike(mended(tmp_path, data), dataset())


@pytest.mark.parametrize("keys", [{"id"}, {"id", "category_id"}])
def test_category_ids_that_are_text_become_numbers(tmp_path, capsys, keys):
    write(tmp_path, "train", dataset())
    images = images_of(tmp_path, "train")
    data = dataset()
    for x, key in [*((x, "id") for x in data["categories"]), *((x, "category_id") for x in data["annotations"])]:
        x[key] = str(x[key]) if key in keys else x[key]
    (tmp_path / "train.json").write_text(json.dumps(data))
    arguments = ["--train", str(tmp_path / "train.json"), str(images)]
    assert main([*arguments, "--fix", str(tmp_path / "mended")]) == 0
    told = capsys.readouterr().out
    assert "category ids are text" in told and "1 mended: category id text" in told
    assert alike(json.loads((tmp_path / "mended" / "train.json").read_text()), dataset())


def test_numbers_that_pandas_writes(tmp_path):
    write(tmp_path, "train", dataset())
    result = mended(tmp_path, as_floats(dataset()))
    for x in result["annotations"]:
        x["iscrowd"] = int(x["iscrowd"])  # 0.0 is as good
    assert alike(result, dataset())


def test_text_stays_where_images_have_it(tmp_path):
    data = dataset()
    for image in data["images"]:
        image["id"] = f"{image['id']:04d}"
    write(tmp_path, "train", data)
    assert [x["image_id"] for x in mended(tmp_path, data)["annotations"]] == ["0010"] + ["0020"] * 2 + ["0030"] * 3


def test_image_ids_of_two_kinds(tmp_path):
    data = dataset()
    data["images"][3]["id"] = "30"
    write(tmp_path, "train", data)
    assert alike(mended(tmp_path, data), dataset())
    data["images"][0]["id"] = "a"
    result = mended(tmp_path, data)
    assert [x["id"] for x in result["images"]] == ["a", "10", "20", "30"]
    assert [x["image_id"] for x in result["annotations"]] == ["10"] + ["20"] * 2 + ["30"] * 3
