"""A chat server on localhost, as the API of a language model: it says whether a word names a living thing, and is wrong about every fourth.

What it is wrong about, and what it fails at, depends on the text alone, so that runs can be compared.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.conftest import ROOT
from tests.data_sets import read_gz
from tests.local_server import serving

BUNDLED = ROOT / "w2s_cli" / "bundled" / "data" / "wordnet"


@contextmanager
def chat_server(*, key: str = "key", dumb: str = "", busy: bool = True) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of `/chat/completions`, and the words that it answered.

    Args:
        key: the key that it asks for.
        dumb: a word about which it says neither yes nor no.
        busy: it refuses the first question about every tenth word, with status 429.
    """
    truth = {
        row["word"]: bool(row["label"]) for split in ("train", "test") for row in read_gz(BUNDLED / f"{split}.jsonl.gz")
    }
    answered: list[str] = []
    refused: set[str] = set()

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            word = asked["messages"][-1]["content"].rpartition("\n")[2].rstrip(":")
            drawn = int(hashlib.sha256(word.encode()).hexdigest(), 16)
            if self.headers["Authorization"] != f"Bearer {key}":
                self.send(401, {"error": {"message": "no such key"}})
            elif busy and drawn % 10 == 0 and word not in refused:
                refused.add(word)
                self.send(429, {"error": {"message": "slow down"}})
            else:
                answered.append(word)
                says = "I cannot say." if word == dumb else "Yes." if truth[word] != (drawn // 10 % 4 == 0) else "No."
                self.send(200, {"choices": [{"message": {"role": "assistant", "content": says}}]})

        def send(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Server) as address:
        yield f"{address}/v1", answered
