"""Downloads, with a time limit and a cache that never takes one address for another."""

import hashlib
import http.client
import logging
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

from detectron2.utils.file_io import PathManager
from fvcore.common.file_io import get_cache_dir

TIMEOUT = 30  # seconds without a byte
WEB_PAGES = ("text/html", "application/xhtml+xml")
LONGEST_NAME = 100  # characters of the name in the cache

logger = logging.getLogger(__name__)


def is_url(path: str) -> bool:
    """Whether `path` is the address of a web server."""
    return path.startswith(("http://", "https://", "ftp://"))


def local_path(path: str) -> str:
    """Return the file on this machine for a path, a URL or one of Detectron2's own addresses (detectron2://...).

    A URL is downloaded once and kept under a name of its own in Detectron2's cache ($FVCORE_CACHE).

    Raises OSError, naming the URL, for one that cannot be downloaded, or that gives a web page.
    """
    if not is_url(path):
        return PathManager.get_local_path(path)
    kept = Path(get_cache_dir(), "dab_detr", cache_name(path))
    if kept.is_file():
        logger.info("%s was downloaded before: %s", path, kept)
    else:
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch(path, kept)
        except OSError as error:
            raise OSError(f"cannot download {path}: {error}") from error
    return str(kept)


def cache_name(url: str) -> str:
    """Return the file name of a URL in the cache: its last part, after a number that differs for every URL."""
    last = unquote(re.split("[?#]", url)[0]).rpartition("/")[2]
    number = hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{number}_{re.sub('[^a-zA-Z0-9_.-]', '_', last)[-LONGEST_NAME:]}"


def fetch(url: str, path: Path) -> None:
    """Download `url` to the file `path`, which is there afterwards as a whole or not at all.

    Raises OSError for a server that does not answer in time, a download that ends early, and a web page, such as the
    one of a login.
    """
    incomplete = Path(tempfile.mkstemp(prefix=f"{path.name}.", suffix=".incomplete", dir=path.parent)[1])
    try:
        with incomplete.open("wb") as file, urlopen(url, timeout=TIMEOUT) as answer:
            if answer.headers.get_content_type() in WEB_PAGES:
                raise OSError("the server sends a web page, not a file; it may want a login")
            shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
            if length is not None and file.tell() != int(length):
                raise OSError(f"the download ended after {file.tell()} of {length} bytes")
        incomplete.replace(path)
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        incomplete.unlink(missing_ok=True)
