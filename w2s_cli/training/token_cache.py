"""A cache of token rows: each (tokenizer, texts, limit) is tokenised once in an outputs folder, for all stages and commands.

* An entry's name is the hash of everything that decides its content: the tokenizer's files and class, the versions of the libraries, the
  texts, the limit and further options. So an entry never becomes wrong, and nothing has to invalidate it.
* Entries are memory-mapped NumPy files, compared with their digests when opened. A damaged entry is made again.
* The cache is no part of any result. A folder that cannot be written, or a link in its place, costs time only. `w2s gc` removes
  entries without recent use.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np

from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.store.context import Context
from w2s_cli.store.files import digest, read_json, unique, write_json
from w2s_cli.store.places import lies_in
from w2s_cli.store.shapes import fits
from w2s_cli.training.models.folder import WEIGHTS, files
from w2s_cli.training.tokens import TokenRows, joined

FOLDER = "tokens"  # of the outputs folder's .cache
FORMAT = 2  # of an entry; raise it when an entry says more, or says it in another way
NO_TOKENIZER = ("config.json", "generation_config.json", "README.md")
LIBRARIES = ("tokenizers", "transformers")


def shared(ctx: Context, folder: Path, rows: Rows, options: Sequence[Any], make: Callable[[], TokenRows]) -> TokenRows:
    """The cached result of `make()` for the same texts, files of the tokenizer (in `folder`) and `options` (JSON), its class among them."""
    if ctx.cache is None:
        return make()
    entry = ctx.cache / FOLDER / _name(folder, rows, options)
    if not lies_in(entry, ctx.cache.parent):
        return make()
    token_rows = _opened(entry)
    if token_rows is None:
        token_rows = make()
        with contextlib.suppress(OSError):
            _store(entry, token_rows)
    return token_rows


def _name(folder: Path, rows: Rows, options: Sequence[Any]) -> str:
    read = [path for path in files(folder, code=True) if path.suffix not in WEIGHTS and path.name not in NO_TOKENIZER]
    tokenizer = {os.path.relpath(p, folder): digest(p) for p in read if not p.name.endswith(".index.json")}
    versions = {"format": FORMAT, **{name: version(name) for name in LIBRARIES}}
    hashed = hashlib.sha256(json.dumps([versions, tokenizer, list(options)], sort_keys=True).encode())
    for texts in (rows.texts, rows.second or []):
        hashed.update(f"{len(texts)} texts".encode())
        for text in texts:
            content = text.encode()
            hashed.update(len(content).to_bytes(8, "little"))
            hashed.update(content)
    return hashed.hexdigest()[:32]


def _files(names: Iterable[str]) -> set[str]:
    """The files of an entry with these texts."""
    return {f"{name}{part}.npy" for name in names for part in ("", "-ends")}


class _Index(TypedDict):
    """entry.json: the digest of each file, and the numbers of texts that were cut and that have no token."""

    files: Annotated[dict[str, str], lambda files: set(files) in (_files(["ids"]), _files(["ids", "second"]))]
    truncated: int
    empty: int


def _opened(entry: Path) -> TokenRows | None:
    """The token rows of an entry; None for a missing or damaged entry."""
    index = read_json(entry / "entry.json")
    if not fits(index, _Index):
        return None
    try:
        if any(digest(entry / name) != sha for name, sha in index["files"].items()):
            return None
        texts = [_read(entry, name) for name in ("ids", "second") if f"{name}.npy" in index["files"]]
        os.utime(entry)  # the time of its last use, for `w2s gc`
    except (OSError, ValueError, EOFError):  # a file is missing, or no array
        return None
    second = texts[1] if len(texts) > 1 else None
    return joined(texts[0], index["truncated"], second, empty=index["empty"])


def _read(entry: Path, name: str) -> list[np.ndarray]:
    """The token rows of the first (`ids`) or second texts: views of the file."""
    ids = np.asarray(np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False))
    ends = np.load(entry / f"{name}-ends.npy", allow_pickle=False)
    return np.split(ids, ends[:-1])


def _store(entry: Path, rows: TokenRows) -> None:
    """Write an entry into a temporary folder, then rename the folder; an older entry of that name is damaged, or equal."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    made = entry.with_name(f".{unique()}.tmp")
    made.mkdir()  # not mkdtemp, whose folders nobody else may read
    try:
        for name, texts in (("ids", rows.ids), ("second", rows.second)):
            if texts is not None:
                _write(made, name, texts)
        digests = {path.name: digest(path) for path in made.iterdir()}
        write_json(made / "entry.json", {"files": digests, "truncated": rows.truncated, "empty": rows.empty})
        shutil.rmtree(entry, ignore_errors=True)
        made.rename(entry)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(made: Path, name: str, texts: Iterable[np.ndarray]) -> None:
    rows = list(texts)
    np.save(made / f"{name}.npy", np.concatenate(rows).astype(np.int32))
    np.save(made / f"{name}-ends.npy", np.cumsum([len(row) for row in rows]))
