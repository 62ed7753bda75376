"""Annotation files as files: encodings, compression, repeated lists."""

import gzip
import json
import re

import pytest

from coco_files import content, write
from dab_detr.doctor.annotations import read_annotations
from dab_detr.doctor.finding import Severity
from dab_detr.doctor.reading import read_content
from tools.check_dataset import main


def accented() -> dict:
    data = content()
    data["categories"][1]["name"] = "café ½"
    return data


def as_text() -> str:
    return json.dumps(accented(), ensure_ascii=False)


ENCODINGS = {
    "utf-16": "encoded in UTF-16: save it as UTF-8",
    "utf-16-le": "encoded in UTF-16-LE: save it as UTF-8",
    "utf-16-be": "encoded in UTF-16-BE",
    "utf-32": "encoded in UTF-32",
    "utf-8-sig": "byte order mark",
    "cp1252": "not encoded in UTF-8: save it as UTF-8. It is read here as cp1252, .*'.*café ½",
    "latin-1": "not encoded in UTF-8.*café ½",
}


def fixed(folder, files) -> dict:
    """The content of the copy that --fix writes, which must have no error."""
    arguments = ["--train", str(files["annotations"]), str(files["images"])]
    assert main(arguments) == 1
    assert main([*arguments, "--fix", str(folder / "mended")]) == 0
    return json.loads((folder / "mended" / "train.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_is_named_and_mended(tmp_path, encoding):
    files = write(tmp_path, "train", accented())
    files["annotations"].write_bytes(as_text().encode(encoding))
    (finding,) = (x for x in read_annotations(files["annotations"]).findings if x.severity is Severity.ERROR)
    assert re.search(ENCODINGS[encoding], str(finding)), str(finding)
    assert fixed(tmp_path, files) == accented()


def test_compression_is_named_and_mended(tmp_path):
    files = write(tmp_path, "train", accented())
    files["annotations"].write_bytes(gzip.compress(as_text().encode()))
    (finding,) = read_content(files["annotations"])[1]
    assert finding.severity is Severity.ERROR and "compressed with gzip: unpack it" in str(finding)
    assert fixed(tmp_path, files) == accented()
    files["annotations"].write_bytes(gzip.compress(as_text().encode())[:-20])
    with pytest.raises(ValueError, match=r"train\.json is a damaged gzip file"):
        read_content(files["annotations"])


def test_accents_in_utf8_are_no_fault(tmp_path):
    files = write(tmp_path, "train", accented())
    files["annotations"].write_bytes(as_text().encode())
    assert read_content(files["annotations"]) == (accented(), ())


def test_a_second_list_is_found_and_joined(tmp_path):
    data = content()
    first, rest = data["annotations"][:2], data["annotations"][2:]
    text = json.dumps({**data, "annotations": rest})[:-1] + f', "annotations": {json.dumps(first)}}}'
    files = write(tmp_path, "train", data)
    files["annotations"].write_text(text)
    found, (finding,) = read_content(files["annotations"])
    assert found["annotations"] == rest + first
    assert "has the key 'annotations' 2 times, with 4 and 2 entries: readers of JSON keep the last" in str(finding)
    assert finding.severity is Severity.ERROR
    assert len(fixed(tmp_path, files)["annotations"]) == 6


def test_a_name_like_a_key_is_no_second_list(tmp_path):
    data = content()
    data["categories"][1]["name"] = "images"
    assert read_content(write(tmp_path, "train", data)["annotations"]) == (data, ())


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": 1' + "0" * 5000 + "}", "\x00\x01", "{'a': 1}"])
def test_what_no_parser_reads(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json is not JSON \("):
        read_content(tmp_path / "a.json")
