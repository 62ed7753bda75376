"""Weights by name: downloaded once, checked from then on, and never another file than before."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from dab_detr.checkpoint.sources import local_weights
from dab_detr.zoo import table
from dab_detr.zoo.table import MODELS, released
from serving import FileServer

CONTENT = b"weights" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/dab_detr/zoo"


@pytest.fixture
def server():
    with FileServer(CONTENT) as server:
        yield server


@pytest.fixture
def release(server, monkeypatch):
    """Puts the model `tiny`, whose file the server has, into the table."""

    def release(**options):
        model = dataclasses.replace(MODELS[0], name="tiny", **{"url": server.address, **options})
        monkeypatch.setattr(table, "MODELS", (model,))

    release()
    return release


def test_a_released_model_is_downloaded_once_and_recorded(release, server, cache):
    path = Path(local_weights("zoo://tiny"))
    assert path == cache / "tiny.pth" and path.read_bytes() == CONTENT
    assert local_weights("zoo://tiny") == str(path) and len(server.requests) == 1
    recorded = json.loads((cache / "tiny.json").read_text())
    assert recorded == {"size": 7000, "sha256": hashlib.sha256(CONTENT).hexdigest(), "source": server.address}


def test_a_file_that_changed_since_its_download_is_named(release):
    path = Path(local_weights("zoo://tiny"))
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(OSError, match=f"{path} is not the file of tiny: its sha256 is .* Remove it"):
        local_weights("zoo://tiny")


def test_a_file_that_changed_at_its_address_is_not_kept(release, server, cache):
    Path(local_weights("zoo://tiny")).unlink()
    server.content = CONTENT[:-1]
    with pytest.raises(OSError, match=r"its size is 6999, not 7000.*to trust the new file, remove .*tiny\.json"):
        local_weights("zoo://tiny")
    assert not (cache / "tiny.pth").exists()
    (cache / "tiny.json").unlink()
    assert Path(local_weights("zoo://tiny")).read_bytes() == CONTENT[:-1]


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"size": 12}])
def test_a_file_that_is_not_the_published_one_is_not_kept(known, release, cache):
    release(**known)
    with pytest.raises(OSError, match="the server's file is not that of tiny: its (size|sha256) is"):
        local_weights("zoo://tiny")
    assert not list(cache.glob("*.pth*[!k]")) and not list(cache.glob("*.json"))


def test_without_a_network_the_error_says_which_file_to_put_where(release, cache):
    release(url="http://127.0.0.1:1/model.pth")
    with pytest.raises(
        OSError, match=r"cannot download http://127.0.0.1:1/model.pth: [^<]*refused.* save it as (\S+)"
    ) as caught:
        local_weights("zoo://tiny")
    path = Path(str(caught.value).rpartition(" ")[2])
    assert path == cache / "tiny.pth"
    path.write_bytes(CONTENT)
    assert local_weights("zoo://tiny") == str(path)


def test_a_model_that_no_program_can_download_says_which_file_to_put_where(cache):
    with pytest.raises(OSError, match="fixed centers .AP 44.7. at https://drive.google.com.* save it as ") as caught:
        local_weights("zoo://dab_detr_r50_dc5_fixxy_50ep_original")
    assert str(caught.value).endswith(str(cache / "dab_detr_r50_dc5_fixxy_50ep_original.pth"))


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(ValueError, match="no released model is called 'dab_detr_r50'; did you mean dab_detr_r50_50ep"):
        released("zoo://dab_detr_r50")
    with pytest.raises(ValueError, match="python -m dab_detr.zoo"):
        released("???")
