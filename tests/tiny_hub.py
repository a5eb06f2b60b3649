"""A model hub on localhost, with just enough of the real one's interface for huggingface_hub to download from it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

COMMIT = "abcdefabcdefabcdefabcdefabcdefabcdefabcd"


@contextmanager
def tiny_hub(repos: dict[str, Path | str]) -> Iterator[str]:
    """The address (for HF_ENDPOINT) of a hub with `repos`: id → folder of files, or what it refuses them with; all at COMMIT = main.

    "gated" lists the repository and gives no file, "token" takes no token, "down" answers HTTP 503.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, *, body: bool) -> None:
            parts = urlparse(self.path).path.strip("/").split("/")
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
