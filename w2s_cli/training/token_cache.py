"""Token rows that stages and commands share: each (tokenizer, texts, limit) is tokenised once in an outputs folder.

* An entry is named by the hash of all that decides its content: the tokenizer's files, the versions of the libraries, the texts, the
  limit and what else was asked. So nothing has to be kept in step, and a wrong entry cannot be found.
* Entries are memory-mapped NumPy files, checked against their digests when opened. A damaged one is made again.
* A cache: it is no part of any result, a folder that cannot be written costs time only, and `w2s gc` removes what was long not used.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.context import Context
from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.store.files import digest, read_json, write_json
from w2s_cli.training.tokens import TokenRows, joined

FOLDER = "tokens"  # of the outputs folder's .cache
SUFFIXES = (".json", ".txt", ".model", ".tiktoken", ".jinja", ".py")
NO_TOKENIZER = ("config.json", "generation_config.json", "README.md")
LIBRARIES = ("tokenizers", "transformers")


def shared(ctx: Context, folder: Path, rows: Rows, asked: Sequence[Any], make: Callable[[], TokenRows]) -> TokenRows:
    """`make()`, or what it gave before for the same texts, tokenizer (that in the model folder `folder`) and `asked` (JSON)."""
    if ctx.cache is None:
        return make()
    entry = ctx.cache / FOLDER / _name(folder, rows, asked)
    found = _opened(entry)
    if found is None:
        found = make()
        with contextlib.suppress(OSError):
            _keep(entry, found)
    return found


def _name(folder: Path, rows: Rows, asked: Sequence[Any]) -> str:
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.name not in NO_TOKENIZER)
    tokenizer = {path.name: digest(path) for path in files if not path.name.endswith(".index.json")}
    versions = {name: version(name) for name in LIBRARIES}
    hashed = hashlib.sha256(json.dumps([versions, tokenizer, list(asked)], sort_keys=True).encode())
    for texts in (rows.texts, rows.second or []):
        hashed.update(f"{len(texts)} texts".encode())
        for text in texts:
            content = text.encode()
            hashed.update(len(content).to_bytes(8, "little"))
            hashed.update(content)
    return hashed.hexdigest()[:32]


def _opened(entry: Path) -> TokenRows | None:
    """The token rows of an entry; None if it is missing or damaged."""
    said = read_json(entry / "entry.json")
    if said is None:
        return None
    try:
        if any(digest(entry / name) != sha for name, sha in said["files"].items()):
            return None
        read = [_read(entry, name) for name in ("ids", "second") if f"{name}.npy" in said["files"]]
        os.utime(entry)  # when it was used last, for `w2s gc`
    except OSError:
        return None
    return joined(read[0], int(said["truncated"]), read[1] if len(read) > 1 else None)


def _read(entry: Path, name: str) -> list[np.ndarray]:
    """The token rows of one text of each row: views of the file."""
    ids = np.asarray(np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False))
    ends = np.load(entry / f"{name}-ends.npy", allow_pickle=False)
    return np.split(ids, ends[:-1])


def _keep(entry: Path, rows: TokenRows) -> None:
    """Write an entry in a folder of its own, then give it its name; one that is there is damaged, or equal."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".", dir=entry.parent))
    try:
        for name, texts in (("ids", rows.ids), ("second", rows.second)):
            if texts is not None:
                _write(made, name, texts)
        files = {path.name: digest(path) for path in made.iterdir()}
        write_json(made / "entry.json", {"files": files, "truncated": rows.truncated})
        shutil.rmtree(entry, ignore_errors=True)
        made.rename(entry)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(made: Path, name: str, texts: Iterable[np.ndarray]) -> None:
    rows = list(texts)
    np.save(made / f"{name}.npy", np.concatenate(rows).astype(np.int32))
    np.save(made / f"{name}-ends.npy", np.cumsum([len(row) for row in rows]))
