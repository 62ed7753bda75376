"""The data.yaml of YOLO: its splits count, however its keys are written and wherever its names are."""

import pytest

from dab_detr.conversion import recognize
from odd_folders import BOX, ROW, boxes, converted, flat_voc, picture, yolo


def two_splits(root, yaml, name="data.yaml"):
    """A picture in images/train and one in images/test, which only a data.yaml can make val."""
    yolo(root)
    (root / "data.yaml").unlink()
    picture(root / "images" / "test" / "b.png")
    (root / "labels" / "test").mkdir()
    (root / "labels" / "test" / "b.txt").write_text(ROW)
    (root / name).write_text(yaml)
    return root


@pytest.mark.parametrize(
    "yaml",
    [
        "Train: images/train\nVal: images/test\nNames: [cat]\n",
        "TRAIN: images/train\nVALID: images/test\nnames: [cat]\nPath: .\n",
        'Train: "images\\train"\nVal: "images\\test"\nnames: [cat]\n',
    ],
)
def test_keys_may_have_capital_letters(tmp_path, yaml):
    root = two_splits(tmp_path / "d", yaml)
    assert [x.name for x in recognize(root).splits] == ["train", "val"]


def test_a_key_in_small_and_in_capital_letters_is_damage(tmp_path):
    root = two_splits(tmp_path / "d", "train: images/train\nTrain: images/test\nnames: [cat]\n")
    with pytest.raises(ValueError, match=r"data\.yaml, train: the key occurs twice"):
        recognize(root)


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yml", "mine.yaml"])
def test_names_of_a_file_and_splits_of_the_yaml_go_together(tmp_path, name):
    root = two_splits(tmp_path / "d", "train: images/train\nval: images/test\n", name)
    (root / "classes.txt").write_text("cat\n")
    content, report = converted(root, tmp_path / "o", "val")
    assert [x["file_name"] for x in content["images"]] == ["b.png"]
    assert content["categories"] == [{"id": 0, "name": "cat"}] and "class names are those of" in report


def test_splits_without_names_anywhere_are_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"data\.yaml, names: must be a list of names"):
        recognize(two_splits(tmp_path / "d", "train: images/train\nval: images/test\n"))


@pytest.mark.parametrize("text", ["val: true\nepochs: 3\n", "a: [b, c]\n", "train: {x: 1}\nval: {y: 1}\n"])
def test_a_yaml_of_something_else_is_passed_over(tmp_path, text):
    root = two_splits(tmp_path / "d", text, "args.yaml")
    (root / "classes.txt").write_text("cat\n")
    assert [x.name for x in recognize(root).splits] == ["train", "test"]


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yaml", "data.yml", "mine.yaml"])
def test_a_yaml_with_a_fault_is_named_with_its_line(tmp_path, name):
    root = two_splits(tmp_path / "d", "names:\n\t- cat\ntrain: images/train\n", name)
    (root / "classes.txt").write_text("cat\n")
    with pytest.raises(ValueError, match=rf"{name}, line 2: is not YAML"):
        recognize(root)


def test_names_in_one_long_text_are_one_line(tmp_path):
    names = ", ".join(f"class{i}" for i in range(60))
    with pytest.raises(ValueError, match=r"data\.yaml, names: must be a list of names"):
        recognize(two_splits(tmp_path / "d", f"names: {names}\ntrain: images/train\n"))


@pytest.mark.parametrize("line", ["gone.png", '"images/train/a.png"'])
def test_a_list_without_any_picture_is_named_with_its_line(tmp_path, line):
    root = two_splits(tmp_path / "d", "train: train.txt\nnames: [cat]\n")
    (root / "train.txt").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=rf"none of its splits has a picture: .* the first is {line} of .*train\.txt"):
        recognize(root)


@pytest.mark.parametrize("link", ["train", "val"])
def test_a_picture_in_both_splits_by_a_link_is_named(tmp_path, link):
    root = yolo(tmp_path / "d", yaml="train: images/train\nval: images/val\nnames: [cat]\n")
    for name in ("images", "labels"):
        if link == "train":
            (root / name / "train").rename(root / name / "val")
        (root / name / link).symlink_to("val" if link == "train" else "train")
    assert "in train and in val, whose AP is then too good (1): images/val/a.png" in converted(root, tmp_path / "o")[1]


def darknet(root, data):
    """Darknet's folder as CVAT writes it: paths in lists begin with data/, and labels lie beside the pictures."""
    for name in ("a", "b"):
        picture(root / "obj_train_data" / f"{name}.png")
        (root / "obj_train_data" / f"{name}.txt").write_text(ROW)
    (root / "obj.data").write_text(data)
    (root / "obj.names").write_text("cat\n")
    (root / "train.txt").write_text("data/obj_train_data/a.png\n")
    (root / "test.txt").write_text("data/obj_train_data/b.png\n")
    return root


DARKNET = "classes = 1\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\nbackup = backup/\n"


@pytest.mark.parametrize("data", [DARKNET, DARKNET.replace(" ", ""), DARKNET.replace("names = data/obj.names", "# x")])
def test_the_lists_of_darknet_are_the_splits(tmp_path, data):
    root = darknet(tmp_path / "d", data)
    for source in (root, root / "obj.data"):
        content, report = converted(source, tmp_path / "o", "val")
        assert [x["file_name"].rpartition("/")[2] for x in content["images"]] == ["b.png"] and boxes(content) == [BOX]
        assert content["categories"] == [{"id": 0, "name": "cat"}] and "train with 1 pictures" in report
        assert "without a picture" not in report


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (DARKNET.replace("test.txt", "gone.txt"), r"obj\.data, valid: 'data/gone\.txt' does not exist"),
        (f"{DARKNET}train = test.txt\n", r"obj\.data, line 6: 'train' occurs twice"),
        (f"{DARKNET}cat\n", r"obj\.data, line 6: 'cat' is not followed by ="),
    ],
)
def test_a_fault_of_obj_data_is_named(tmp_path, data, problem):
    with pytest.raises(ValueError, match=problem):
        recognize(darknet(tmp_path / "d", data))


@pytest.mark.parametrize("folder", ["images/train", "Annotations"])
def test_a_label_of_another_format_beside_a_data_yaml_is_named(tmp_path, folder):
    root = yolo(tmp_path / "d", ["a.png", "b.png"])
    (root / "labels" / "train" / "a.txt").unlink()
    (root / folder).mkdir(exist_ok=True)
    (flat_voc(tmp_path / "v") / "a.xml").rename(root / folder / "a.xml")
    content, report = converted(root, tmp_path / "o")
    assert len(content["annotations"]) == 1
    assert f"which is not read (1): images/train/a.png with {folder}/a.xml" in report
