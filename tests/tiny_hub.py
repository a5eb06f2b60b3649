"""A model hub on localhost, with just enough of the real one's interface for huggingface_hub to download from it, and to upload to it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

COMMIT = "abcdefabcdefabcdefabcdefabcdefabcdefabcd"


@dataclass
class Uploads:
    """Who may upload to the hub, and what was uploaded."""

    root: Path  # of the folders of new repositories
    token: str
    fails: bool = False  # the upload of a file is refused
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
            mode = {True: "lfs", False: "regular"}
            files = [(file["path"], mode[file["path"].endswith(".safetensors")]) for file in asked["files"]]
            return 200, {"files": [{"path": name, "uploadMode": how, "shouldIgnore": False} for name, how in files]}
        if path.endswith("/info/lfs/objects/batch"):
            upload = lambda oid: {"upload": {"href": f"{address}/lfs/{oid}"}}  # noqa: E731 - one line of JSON
            return 200, {"objects": [{**one, "actions": upload(one["oid"])} for one in asked["objects"]]}
        return 404, {}

    def commit(self, path: str, content: bytes, repos: dict[str, Path | str], address: str) -> tuple[int, object]:
        """Write the files of a commit."""
        repo = path.removeprefix("/api/models/").removesuffix("/commit/main")
        folder = repos[repo]
        assert isinstance(folder, Path)
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                (folder / value["path"]).write_bytes(self.objects[value["oid"]])
        return 200, {"commitUrl": f"{address}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}


@contextmanager
def tiny_hub(repos: dict[str, Path | str], uploads: Uploads | None = None) -> Iterator[str]:
    """The address (for HF_ENDPOINT) of a hub with `repos`: id → folder of files, or what it refuses them with; all at COMMIT = main.

    "gated" lists the repository and gives no file, "token" takes no token, "down" answers HTTP 503. Without `uploads` it takes none.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.take()

        def do_PUT(self) -> None:
            self.take()

        def take(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if not self.is_known() and not self.path.startswith(
                "/lfs/"
            ):  # the address of an object is a secret of its own
                return self.send(401, {}, b"{}", True)
            assert uploads is not None
            status, value = uploads.answer(urlparse(self.path).path, content, repos, f"http://{self.headers['Host']}")
            self.send(status, {"Content-Type": "application/json"}, json.dumps(value).encode(), True)

        def is_known(self) -> bool:
            return uploads is not None and self.headers["Authorization"] == f"Bearer {uploads.token}"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, *, body: bool) -> None:
            parts = urlparse(self.path).path.strip("/").split("/")
            if parts == ["api", "whoami-v2"]:
                return self.send(
                    200 if self.is_known() else 401, {"Content-Type": "application/json"}, b'{"name": "me"}', body
                )
            is_api = parts[:1] == ["api"]
            parts = parts[2:] if is_api else parts[1:] if parts[:1] == ["datasets"] else parts
            words = ("revision", "tree", "resolve", "xet-read-token")
            cut = next((i for i, part in enumerate(parts) if part in words), len(parts))
            found = repos.get("/".join(parts[:cut]))
            revision = parts[cut + 1] if cut + 1 < len(parts) else "main"
            if found is None:
                return self.send(401, {"X-Error-Code": "RepoNotFound"}, b"{}", body)
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
                content = path.read_bytes()
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                return self.send(200, headers, content, body)
            files = [path for path in sorted(found.iterdir()) if path.is_file()]
            if parts[cut : cut + 1] == ["tree"]:
                return self.send_json(
                    [
                        {
                            "type": "file",
                            "path": path.name,
                            "size": path.stat().st_size,
                            "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
                        }
                        for path in files
                    ],
                    body,
                )
            siblings = [{"rfilename": path.name, "size": path.stat().st_size} for path in files]
            return self.send_json({"id": "/".join(parts[:cut]), "sha": COMMIT, "siblings": siblings}, body)

        def send_json(self, value: object, body: bool) -> None:
            self.send(
                200, {"Content-Type": "application/json", "X-Repo-Commit": COMMIT}, json.dumps(value).encode(), body
            )

        def send(self, status: int, headers: dict[str, str], content: bytes, body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
