"""Downloads that resume, with a time limit, a progress bar and a cache that never confuses two addresses."""

import hashlib
import http.client
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

from detectron2.utils.file_io import PathManager
from filelock import FileLock
from fvcore.common.file_io import get_cache_dir
from tqdm import tqdm

TIMEOUT = 30  # seconds without a byte
WEB_PAGES = ("text/html", "application/xhtml+xml")
PAGE_STARTS = (b"<!doctype html", b"<html")
LONGEST_NAME = 100  # characters of the name in the cache
BLOCK = 2**18  # bytes
WITHOUT_NETWORK = "on a machine without a network, copy the file there and give its path instead of the address"

logger = logging.getLogger(__name__)


def is_url(path: str) -> bool:
    """Whether `path` is the address of a web server."""
    return path.startswith(("http://", "https://", "ftp://"))


def local_path(path: str) -> str:
    """Return the file on this machine for a path, a URL or one of Detectron2's own addresses (detectron2://...).

    A URL is downloaded once and kept under its own name in Detectron2's cache ($FVCORE_CACHE).

    Raises OSError, naming the URL, if it cannot be downloaded or is a web page.
    """
    if not is_url(path):
        try:
            return PathManager.get_local_path(path)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise OSError(f"cannot download {path}: {reason}; {WITHOUT_NETWORK}") from error
    kept = cache_folder() / cache_name(path)
    download(path, kept)
    return str(kept)


def cache_folder() -> Path:
    """The folder of our downloads in Detectron2's cache ($FVCORE_CACHE)."""
    return Path(get_cache_dir(), "dab_detr")


def cache_name(url: str) -> str:
    """Return the file name of a URL in the cache: a hash of the URL, then its last part."""
    last = unquote(re.split("[?#]", url)[0]).rpartition("/")[2]
    number = hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{number}_{re.sub('[^a-zA-Z0-9_.-]', '_', last)[-LONGEST_NAME:]}"


def download(url: str, path: Path, check: Callable[[Path], None] | None = None) -> None:
    """Download `url` to the file `path`, unless the file exists. If several processes want it, one downloads it.

    check: as in `fetch`.

    Raises OSError, naming the URL, if it cannot be downloaded.
    """
    if path.is_file():
        logger.info("%s was downloaded before: %s", url, path)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                fetch(url, path, check)
    except OSError as error:
        reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)  # of urllib's URLError
        raise OSError(f"cannot download {url}: {reason}; {WITHOUT_NETWORK}") from error


def fetch(url: str, path: Path, check: Callable[[Path], None] | None = None) -> None:
    """Download `url` to the file `path`. Afterwards the file is complete or absent.

    If a download is interrupted, the next call continues it, provided the server can tell that the file is the same.

    check: a function that raises OSError if the downloaded file is not the right one.

    Raises OSError if the server does not answer in time, if the download ends early, or if it is a web page, such as a
    login page. Only one process at a time may fetch to one path; see `download`.
    """
    part = Part(path)
    try:
        try:
            answer = urlopen(part.request(url), timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not part.size():
                raise
            part.discard()
            answer = urlopen(part.request(url), timeout=TIMEOUT)
        with answer:
            part.receive(answer)
        try:
            refuse_web_page(part.path)
            if check:
                check(part.path)
        except OSError:
            part.discard()
            raise
        part.path.replace(path)
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        part.tidy()


class Part:
    """The part of a download that is already here, with the mark by which a server recognizes its file."""

    def __init__(self, path: Path):
        self.path = path.with_name(f"{path.name}.incomplete")
        self.mark = path.with_name(f"{path.name}.incomplete.mark")

    def size(self) -> int:
        """The number of bytes that need not be downloaded again."""
        return self.path.stat().st_size if self.path.is_file() and self.mark.is_file() else 0

    def request(self, url: str) -> Request:
        """The request for the rest of the file, or for the whole file if it has changed."""
        if size := self.size():
            return Request(url, headers={"Range": f"bytes={size}-", "If-Range": self.mark.read_text()})
        return Request(url)

    def receive(self, answer) -> None:
        """Write the answer to the file. Raises OSError if it is shorter than announced, or a web page."""
        if answer.headers.get_content_type() in WEB_PAGES:
            raise OSError("the server sends a web page, not a file; it may require a login")
        begun = self.size() if getattr(answer, "status", None) == http.client.PARTIAL_CONTENT else 0
        if begun and not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
            self.discard()
            raise OSError("the server cannot continue the last download; try again to start from the beginning")
        if not begun:
            self.discard()
            if mark := mark_of(answer.headers):
                self.mark.write_text(mark)
        length = answer.headers.get("Content-Length")
        total = None if length is None else begun + int(length)
        with self.path.open("ab") as file:
            copy(answer, file, begun=begun, total=total)
            if total is not None and file.tell() != total:
                raise OSError(f"the download ended after {file.tell()} of {total} bytes")

    def discard(self) -> None:
        """Remove the part and its mark."""
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove a part that cannot be continued, and the mark of a file that is complete."""
        if not self.size():
            self.discard()


def mark_of(headers) -> str | None:
    """The mark that shows a server whether its file is still the same: its strong ETag or its date, otherwise None."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def copy(source, file: BinaryIO, *, begun: int, total: int | None) -> None:
    """Copy a stream to a file, with a progress bar on a terminal."""
    bar = tqdm(total=total, initial=begun, unit="B", unit_scale=True, desc="download", disable=not sys.stderr.isatty())
    with bar:
        while block := source.read(BLOCK):
            file.write(block)
            bar.update(len(block))


def refuse_web_page(path: Path) -> None:
    """Raise OSError for a file that is a web page, even if the server declared another type."""
    with path.open("rb") as file:
        if file.read(512).lstrip().lower().startswith(PAGE_STARTS):
            raise OSError("the server sends a web page, not a file; it may require a login")
