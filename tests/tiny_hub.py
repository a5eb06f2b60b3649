"""A hub on localhost, with just enough of the real one's interface for huggingface_hub to download from it, to upload to it, and to use
a repository as a file system (HfFileSystem): trees in pages, facts of paths, ranges of files, commits with and without large files.

A repository of models and a data set of the same name are one here.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

from tests.local_server import serving

COMMIT = "abcdefabcdefabcdefabcdefabcdefabcdefabcd"
PAGE = 20  # entries of a page of a tree; the real hub's have 1,000
LARGE = (".safetensors", ".parquet")  # what .gitattributes of a new repository keeps as large files


def facts(root: Path, path: Path) -> dict[str, object]:
    """What a tree of the hub says of a file or folder of a repository."""
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}
    content = path.read_bytes()
    found = {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
    if not name.endswith(LARGE):
        return found
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()
    large = {"oid": oid, "size": len(content), "pointerSize": len(pointer)}
    return {**found, "oid": blob_id(pointer), "lfs": large}


def blob_id(content: bytes) -> str:
    """The id that git gives to the bytes of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Uploads:
    """Who may upload to the hub, and what was uploaded."""

    root: Path  # of the folders of new repositories
    token: str
    reader: str = ""  # a token that may read, and not write
    fails: bool = False  # the upload of a large file is refused
    refuses: str = ""  # a commit of a file with this in its path is refused
    commits: list[list[str]] = field(default_factory=list)  # the paths of each
    asked: list[str] = field(default_factory=list)  # method and path of every request
    private: dict[str, bool] = field(default_factory=dict)  # of new repositories
    objects: dict[str, bytes] = field(default_factory=dict)  # large files by their sha256

    def answer(self, path: str, content: bytes, repos: dict[str, Path | str], address: str) -> tuple[int, object]:
        """The status and JSON for a POST or PUT of the client, by the protocol of huggingface_hub without Xet."""
        if path.startswith("/lfs/"):
            if self.fails or hashlib.sha256(content).hexdigest() != path.removeprefix("/lfs/"):
                return 400, {"error": "the object cannot be stored"}
            self.objects[path.removeprefix("/lfs/")] = content
            return 200, {}
        if path.endswith("/commit/main"):
            return self.commit(path, content, repos, address)
        asked = json.loads(content)
        if path == "/api/repos/create":
            repo = f"{asked['organization']}/{asked['name']}"
            repos[repo] = self.root / repo
            (self.root / repo).mkdir(parents=True)
            self.private[repo] = asked.get("visibility") == "private" or asked.get("private") is True  # by its version
            return 200, {"url": f"{address}/{repo}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            folder = repos[repository(path, "/preupload/")]
            assert isinstance(folder, Path)
            return 200, {"files": [self.mode(folder, file["path"]) for file in asked["files"]]}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"objects": [self.transfer(one, address) for one in asked["objects"]]}
        return 404, {}

    def mode(self, folder: Path, name: str) -> dict[str, object]:
        """How a file is to be uploaded, and its id if it is there."""
        path, large = folder / name, name.endswith(LARGE)
        here = {}
        if path.is_file():
            content = path.read_bytes()
            here["oid"] = hashlib.sha256(content).hexdigest() if large else blob_id(content)
        return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **here}

    def transfer(self, one: dict[str, object], address: str) -> dict[str, object]:
        """Where an object is to be put; nowhere if the hub has it."""
        if one["oid"] in self.objects:
            return one
        return {**one, "actions": {"upload": {"href": f"{address}/lfs/{one['oid']}"}}}

    def commit(self, path: str, content: bytes, repos: dict[str, Path | str], address: str) -> tuple[int, object]:
        """Write the files of a commit."""
        repo = repository(path, "/commit/")
        folder = repos[repo]
        assert isinstance(folder, Path)
        values = [line["value"] for line in map(json.loads, content.splitlines()) if line["key"] in ("file", "lfsFile")]
        if self.refuses and any(self.refuses in value["path"] for value in values):
            return 500, {"error": "the commit cannot be stored"}
        for value in values:
            written = base64.b64decode(value["content"]) if "content" in value else self.objects[value["oid"]]
            (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / value["path"]).write_bytes(written)
        self.commits.append([value["path"] for value in values])
        return 200, {"commitUrl": f"{address}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}


def repository(path: str, word: str) -> str:
    """OWNER/NAME of the address /api/models/OWNER/NAME/word/…, or of a data set."""
    return path.partition(word)[0].removeprefix("/api/models/").removeprefix("/api/datasets/")


@contextmanager
def tiny_hub(repos: dict[str, Path | str], uploads: Uploads | None = None) -> Iterator[str]:
    """The address (for HF_ENDPOINT) of a hub with `repos`: id → folder of files, or what it refuses them with; all at COMMIT = main.

    "gated" lists the repository and gives no file, "token" takes no token, "down" answers HTTP 503. Without `uploads` it takes none, and
    with them it reads only for their tokens.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.take()

        def do_PUT(self) -> None:
            self.take()

        def take(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = urlparse(self.path).path
            if "/paths-info/" in path:
                return self.answer(body=True, asked=parse_qs(content.decode())["paths"])
            if path.startswith("/lfs/"):  # the address of an object is a secret of its own
                assert uploads is not None
            elif uploads is None or not self.may_read():
                return self.send(401, {}, b"{}", True)
            elif not self.is_known():
                return self.send(403, {"X-Error-Message": "you need a token that may write"}, b"{}", True)
            self.note()
            status, value = uploads.answer(path, content, repos, f"http://{self.headers['Host']}")
            self.send(status, {"Content-Type": "application/json"}, json.dumps(value).encode(), True)

        def is_known(self) -> bool:
            return uploads is not None and self.headers["Authorization"] == f"Bearer {uploads.token}"

        def may_read(self) -> bool:
            may = uploads is not None and uploads.reader and self.headers["Authorization"] == f"Bearer {uploads.reader}"
            return bool(may) or self.is_known()

        def note(self) -> None:
            if uploads is not None:
                uploads.asked.append(f"{self.command} {self.path}")

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, *, body: bool, asked: list[str] | None = None) -> None:
            self.note()
            parts = unquote(urlparse(self.path).path).strip("/").split("/")
            if parts == ["api", "whoami-v2"]:
                return self.send(
                    200 if self.is_known() else 401, {"Content-Type": "application/json"}, b'{"name": "me"}', body
                )
            if uploads is not None and not self.may_read():
                return self.send(401, {"X-Error-Message": "Invalid username or password."}, b"{}", body)
            is_api = parts[:1] == ["api"]
            parts = parts[2:] if is_api else parts[1:] if parts[:1] == ["datasets"] else parts
            words = ("revision", "tree", "resolve", "paths-info", "xet-read-token")
            cut = next((i for i, part in enumerate(parts) if part in words), len(parts))
            found = repos.get("/".join(parts[:cut]))
            revision = parts[cut + 1] if cut + 1 < len(parts) else "main"
            if found is None:
                return self.send(404 if self.is_known() else 401, {"X-Error-Code": "RepoNotFound"}, b"{}", body)
            if found == "token":
                return self.send(401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}", body)
            if found == "down":
                return self.send(503, {}, b"{}", body)
            if revision not in ("main", COMMIT):
                return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", body)
            if isinstance(found, str):
                if is_api and "tree" not in parts:
                    listed = {"gated": "auto", "siblings": [{"rfilename": "train.jsonl"}]}
                    return self.send_json({"id": "/".join(parts[:cut]), "sha": COMMIT, **listed}, body)
                return self.send(403, {"X-Error-Code": "GatedRepo"}, b"{}", body)
            if not is_api:
                path = found / "/".join(parts[cut + 2 :])
                if not path.is_file():
                    return self.send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"{}", body)
                return self.send_file(path, body)
            if asked is not None:
                return self.send_json([facts(found, found / name) for name in asked if (found / name).exists()], body)
            if parts[cut : cut + 1] == ["tree"]:
                return self.send_tree(found, found / "/".join(parts[cut + 2 :]), body)
            files = [path for path in sorted(found.rglob("*")) if path.is_file()]
            siblings = [
                {"rfilename": path.relative_to(found).as_posix(), "size": path.stat().st_size} for path in files
            ]
            return self.send_json({"id": "/".join(parts[:cut]), "sha": COMMIT, "siblings": siblings}, body)

        def send_tree(self, root: Path, folder: Path, body: bool) -> None:
            if not folder.is_dir():
                return self.send(404, {"X-Error-Code": "EntryNotFound"}, b"{}", body)
            address = urlparse(self.path)
            words = {name: values[-1] for name, values in parse_qs(address.query).items()}
            deep = words.get("recursive", "").lower() == "true"
            listed = sorted(folder.rglob("*") if deep else folder.iterdir())
            start = int(words.get("cursor", 0))
            more = {}
            if len(listed) > start + PAGE:
                query = f"recursive={words.get('recursive', 'false')}&cursor={start + PAGE}"
                more["Link"] = f'<http://{self.headers["Host"]}{address.path}?{query}>; rel="next"'
            self.send_json([facts(root, path) for path in listed[start : start + PAGE]], body, **more)

        def send_file(self, path: Path, body: bool) -> None:
            content = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            wanted = self.headers["Range"]
            if wanted is None:
                return self.send(200, headers, content, body)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            piece = content[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(piece) - 1}/{len(content)}"
            self.send(206, headers, piece, body)

        def send_json(self, value: object, body: bool, **more: str) -> None:
            headers = {"Content-Type": "application/json", "X-Repo-Commit": COMMIT, **more}
            self.send(200, headers, json.dumps(value).encode(), body)

        def send(self, status: int, headers: dict[str, str], content: bytes, body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    with serving(Handler) as address:
        yield address
