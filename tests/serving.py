"""Web servers on this machine: for the files of a folder, for one file, and for repositories as the hub has them."""

import hashlib
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """The tests' output stays clean."""


@contextmanager
def served(handler) -> Iterator[str]:
    """The address of a server with this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def serving(folder):
    """The address under which the files of a folder are served."""
    return served(partial(Quiet, directory=str(folder)))


def answering(answer):
    """The address of a server that answers every request by `answer(handler)`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        do_HEAD = do_GET

        def log_message(self, *_):
            """The tests' output stays clean."""

    return served(Handler)


def send(handler, kind: str, content: bytes, length: int | None = None) -> None:
    """Answer with some content, and with a length that may be a lie."""
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


class FileServer:
    """A server of one file that continues downloads, and can be made to fail.

    stops_at: bytes after which it breaks off. ranges: whether it continues downloads. shift: bytes by which it
    continues at the wrong place. before: called before an answer. requests: the headers of all requests.
    """

    def __init__(self, content: bytes, *, stops_at: int | None = None, before: Callable[[], None] = lambda: None):
        self.content, self.stops_at, self.before = content, stops_at, before
        self.etag, self.ranges, self.shift, self.requests = '"first"', True, 0, []

    def __enter__(self) -> "FileServer":
        self.server = answering(self.answer)
        self.address = f"{self.server.__enter__()}/model.pth"
        return self

    def __exit__(self, *error) -> None:
        self.server.__exit__(*error)

    def answer(self, handler) -> None:
        self.requests.append(dict(handler.headers))
        self.before()
        begin, range = 0, handler.headers.get("Range")
        if range and self.ranges and handler.headers.get("If-Range") == self.etag:
            begin = int(range.removeprefix("bytes=").removesuffix("-")) + self.shift
        if begin >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if begin else 200)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(self.content) - begin))
        handler.end_headers()
        handler.wfile.write(self.content[begin : self.stops_at])


COMMIT = "a" * 40  # the only revision of every repository


class Hub:
    """A Hugging Face hub whose repositories are folders `owner/name` in a folder.

    lie: called with the name and the content of a file, returns what is sent instead. requests: "GET file" for each.
    """

    def __init__(self, folder: Path):
        self.folder, self.requests = folder, []
        self.lie: Callable[[str, bytes], bytes] = lambda name, content: content

    def __enter__(self) -> "Hub":
        self.server = answering(self.answer)
        self.address = self.server.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.server.__exit__(*error)

    def answer(self, handler) -> None:
        owner, name, _, _, file = handler.path.strip("/").split("/", 4)
        self.requests.append(f"{handler.command} {file}")
        path = self.folder / owner / name / file
        if not path.is_file():
            handler.send_response(404)
            handler.send_header("X-Error-Code", "EntryNotFound" if path.parent.is_dir() else "RepoNotFound")
            handler.send_header("X-Repo-Commit", COMMIT)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = path.read_bytes()
        handler.send_response(200)
        handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(self.lie(file, content))


def use_hub(monkeypatch, address: str, cache: Path) -> None:
    """Let huggingface_hub ask the hub at this address, as $HF_ENDPOINT would have when it was imported."""
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
