"""The generated dataset: its files and its registration."""

import hashlib
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools.coco import COCO

from dab_detr.data.shapes import SHAPES_CLASSES, generate_shapes, register_shapes
from dab_detr.data.shapes import dataset as shapes
from dab_detr.data.shapes.picture import draw_picture

FEW = {"num_train": 6, "num_val": 4}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("shapes"), **FEW)


@pytest.fixture
def catalogs():
    """Leaves the process-wide catalogs as they were."""
    before = set(DatasetCatalog), set(MetadataCatalog)
    yield
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), before, strict=True):
        for name in set(catalog) - names:
            catalog.remove(name)


def read(folder, split):
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def content(folder):
    """Every file below a folder with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- files


def test_annotations_say_what_was_drawn(few):
    for number, split in enumerate(("train", "val")):
        data = read(few, split)
        expected = []
        for image in data["images"]:
            picture = draw_picture(number, image["id"] - 1)
            stored = Image.open(few / split / image["file_name"])
            assert stored.mode == "RGB" and np.array_equal(np.asarray(stored), picture.image)
            assert (image["height"], image["width"]) == picture.image.shape[:2]
            for label, mask in zip(picture.labels, picture.masks, strict=True):
                ys, xs = np.nonzero(mask)
                box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
                expected.append((image["id"], label + 1, box, len(xs), 0))
        keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
        assert [tuple(a[key] for key in keys) for a in data["annotations"]] == expected
        assert [image["id"] for image in data["images"]] == list(range(1, 1 + FEW[f"num_{split}"]))
        assert [a["id"] for a in data["annotations"]] == list(range(1, 1 + len(expected)))


def test_annotations_are_the_same_everywhere(few):
    text = json.dumps(read(few, "train")["annotations"], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "35481021c56775c7"


def test_pycocotools_reads_it(few):
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(few / "annotations" / "val.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(SHAPES_CLASSES)
    assert len(coco.getImgIds()) == FEW["num_val"] and coco.getAnnIds(imgIds=[1], iscrowd=False)


def test_splits_share_no_picture(few):
    pictures = [path.read_bytes() for path in few.rglob("*.png")]
    assert len(set(pictures)) == len(pictures) == sum(FEW.values())


def test_more_pictures_begin_with_the_same(few, tmp_path):
    more = generate_shapes(tmp_path, num_train=8, num_val=5)
    stored, kept = content(more), content(few)
    names = [name for name in kept if name.suffix == ".png"]
    assert all(stored[name] == kept[name] for name in names) and len(names) == 10


def test_written_once(tmp_path, monkeypatch):
    folder = generate_shapes(tmp_path, **FEW)
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, folder.name + ".lock"}
    monkeypatch.setattr(shapes, "draw_picture", None)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert generate_shapes(tmp_path, **FEW) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_an_interrupted_writing_is_redone(few, tmp_path, monkeypatch):
    def interrupted(split, index, **options):
        if (split, index) == (1, 2):
            raise KeyboardInterrupt
        return draw_picture(split, index, **options)

    monkeypatch.setattr(shapes, "draw_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_shapes(tmp_path, **FEW)
    assert not (tmp_path / few.name).exists() and list(tmp_path.rglob("*.png"))
    monkeypatch.undo()
    assert content(generate_shapes(tmp_path, **FEW)) == content(few)
    assert not list(tmp_path.glob("*.partial"))


def test_of_several_writers_one_writes(few, tmp_path, monkeypatch):
    drawn = []

    def counted(split, index, **options):
        drawn.append((split, index))
        return draw_picture(split, index, **options)

    monkeypatch.setattr(shapes, "draw_picture", counted)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: generate_shapes(tmp_path, **FEW), range(4)))
    assert len(set(folders)) == 1 and len(drawn) == sum(FEW.values())
    assert content(folders[0]) == content(few)


@pytest.mark.parametrize(
    "changed",
    [{"num_train": 7}, {"num_val": 5}, {"image_size": 100}, {"seed": 1}, {"sides": (9, 40)}],
)
def test_other_parameters_give_another_folder(few, changed):
    other = generate_shapes(few.parent, **{**FEW, **changed})
    assert other != few and other.parent == few.parent
    ((key, value),) = changed.items()
    record = json.loads((other / "parameters.json").read_text())
    assert record[key] == (list(value) if key == "sides" else value)
    same_pictures = read(other, "val")["annotations"][:2] == read(few, "val")["annotations"][:2]
    assert same_pictures == key.startswith("num_")


@pytest.mark.parametrize("record", [None, "", "{}", '{"version": 0}'])
def test_a_folder_that_is_something_else_is_an_error(few, tmp_path, record):
    folder = tmp_path / few.name
    shutil.copytree(few, folder)
    (folder / "parameters.json").unlink()
    if record is not None:
        (folder / "parameters.json").write_text(record)
    with pytest.raises(FileExistsError, match="Delete the folder"):
        generate_shapes(tmp_path, **FEW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_train": 0},
        {"num_val": 0},
        {"seed": -1},
        {"sides": (1, 9)},
        {"sides": (9, 17)},
        {"image_size": 55},
    ],
)
def test_impossible_parameters_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        generate_shapes(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


# --- registration


def test_registers_once(few, catalogs):
    names = register_shapes(few.parent, **FEW)
    registered = [(DatasetCatalog[name], MetadataCatalog.get(name)) for name in names]
    assert register_shapes(str(few.parent), **FEW) == names and len(set(names)) == 2
    assert [(DatasetCatalog[name], MetadataCatalog.get(name)) for name in names] == registered
    for name, split in zip(names, ("train", "val"), strict=True):
        records = DatasetCatalog.get(name)
        assert len(records) == FEW[f"num_{split}"]
        assert all(r["annotations"] and Image.open(r["file_name"]).size == (96, 96) for r in records)
        assert MetadataCatalog.get(name).thing_classes == list(SHAPES_CLASSES)
        assert MetadataCatalog.get(name).evaluator_type == "coco"


def test_default_names_and_place(few, tmp_path, monkeypatch, catalogs):
    asked = []
    monkeypatch.setattr(shapes, "generate", lambda root, _: asked.append(root) or few)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert register_shapes() == ("shapes_train", "shapes_val")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    register_shapes()
    assert asked == [tmp_path / "shapes", Path("datasets/shapes")]


def test_registering_from_another_place_moves_the_names(few, tmp_path, catalogs):
    names = register_shapes(few.parent, **FEW)
    DatasetCatalog.get(names[0])  # fills in metadata
    assert register_shapes(tmp_path, **FEW) == names
    assert all(str(tmp_path) in r["file_name"] for n in names for r in DatasetCatalog.get(n))
    assert str(tmp_path) in MetadataCatalog.get(names[1]).json_file


def test_a_name_of_someone_else_is_left_alone(few, catalogs, monkeypatch):
    name = shapes.Parameters(**FEW).dataset_name("val")
    DatasetCatalog.register(name, list)
    with pytest.raises(ValueError, match=name):
        register_shapes(few.parent, **FEW)
    assert DatasetCatalog.get(name) == []


def test_unknown_parameters_are_refused(tmp_path):
    with pytest.raises(TypeError, match="num_trian"):
        register_shapes(tmp_path, num_trian=3)


def test_coco_evaluator_gives_full_marks_to_the_truth(few, tmp_path, catalogs):
    _, val = register_shapes(few.parent, **FEW)
    evaluator = COCOEvaluator(val, distributed=False, output_dir=str(tmp_path), use_fast_impl=False)
    evaluator.reset()
    data = read(few, "val")
    for image in data["images"]:
        truth = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in truth)]
        instances = Instances((96, 96))
        instances.pred_boxes = Boxes(torch.tensor(corners, dtype=torch.float32))
        instances.scores = torch.full((len(truth),), 0.9)
        instances.pred_classes = torch.tensor([a["category_id"] - 1 for a in truth])
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
    with redirect_stdout(io.StringIO()):
        results = evaluator.evaluate()["bbox"]
    assert results["AP"] == pytest.approx(100) and results["AP75"] == pytest.approx(100)
    assert {f"AP-{name}" for name in SHAPES_CLASSES} <= set(results)
