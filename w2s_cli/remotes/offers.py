"""An offer: the three JSON files of a remote stage, checked. What passes can be written as a stage of a store, and nothing else can.

* stage.json: its identity must have the key that the folder's name has, in today's format of keys.
* record.json: its shape, and the digest of the manifest.
* manifest.json: these bytes have that digest, and every file that it names lies in the result, under a name that is the same on every
  system, with the size that the listing has. Only weights may be left out.
* A document larger than LARGEST is not read. A file is never longer than its manifest says: the copy stops there.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from w2s_cli.remotes.listing import MANIFEST, RECORD, STAGE, Entry, is_weights
from w2s_cli.store import keys
from w2s_cli.store.files import parse_json
from w2s_cli.store.shapes import Job, Manifest, Record, fits

LARGEST = 64 << 20  # bytes of a JSON file
LONGEST_NAME = 1000  # characters of a file's path in a result
LONGEST_PART = 200  # bytes of a part of it, and of a kind: file systems take 255


class Refused(Exception):  # noqa: N818 - the outcome of one stage; the others go on
    """A stage is not copied; `word` is its outcome in a line, the text the reason."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


@dataclass(frozen=True)
class Offer:
    """A remote stage whose documents are sound."""

    entry: Entry
    job: dict[str, Any]
    record: dict[str, Any]
    manifest: bytes
    files: dict[str, dict[str, Any]]  # name in result/ → size, sha256

    @property
    def identity(self) -> dict[str, Any]:
        return {name: self.job[name] for name in keys.IDENTITY}

    @property
    def present(self) -> list[str]:
        """The files that it has; weights may have been left out."""
        return [name for name in self.files if name not in self.record.get("pruned", ())]


def read_offer(entry: Entry) -> Offer:
    """The documents of a stage.

    Raises:
        Refused: they are damaged, of another format, or not of a stage that may become a folder here.
        UnreachableError: they cannot be read.
    """
    job, record = read_identity(entry), read_record_of(entry)
    manifest = _read(entry, MANIFEST)
    content = parse_json(manifest)
    if hashlib.sha256(manifest).hexdigest() != record["result"]:
        raise Refused("damaged", f"{MANIFEST} is not the manifest that {RECORD} names")
    if not fits(content, Manifest):
        raise Refused("damaged", f"{MANIFEST} is no manifest, or names a file outside of the result")
    offer = Offer(entry, job, record, manifest, content["files"])
    _check_names(content["files"])
    if not all(is_weights(name) for name in record.get("pruned", ())):
        raise Refused("damaged", f"{RECORD} says that other files than weights were left out")
    for name in offer.present:
        size, listed = offer.files[name]["size"], entry.size(f"result/{name}")
        if listed != size:
            has = "is missing" if listed < 0 else f"has {listed} bytes instead of {size}"
            raise Refused("damaged", f"result/{name} {has}")
    return offer


def read_identity(entry: Entry) -> dict[str, Any]:
    """stage.json of a stage, whose identity has the key of the folder's name; raises as `read_offer`."""
    job = parse_json(_read(entry, STAGE))
    if not fits(job, Job):
        raise Refused("damaged", f"{STAGE} is no description of a stage")
    if job.get("format") != keys.FORMAT:
        raise Refused(
            "other format", f"a w2s with keys of format {job.get('format')} made it, and this one has {keys.FORMAT}"
        )
    try:
        key = keys.stage_key({name: job.get(name) for name in keys.IDENTITY})
    except (TypeError, RecursionError):
        key = "none"
    if not key == job["key"] == entry.key:
        raise Refused("damaged", f"{STAGE} has the key {key}, and the folder {entry.key}: it was edited or renamed")
    if not job["kind"].isidentifier() or len(job["kind"].encode()) > LONGEST_PART:
        raise Refused("damaged", f"{STAGE} names no kind")
    return dict(job)


def read_record_of(entry: Entry) -> dict[str, Any]:
    """record.json of a stage; raises as `read_offer`."""
    record = parse_json(_read(entry, RECORD))
    if not fits(record, Record) or "result" not in record or record.get("key", entry.key) != entry.key:
        raise Refused("damaged", f"{RECORD} is no record of this stage")
    return dict(record)


def _read(entry: Entry, name: str) -> bytes:
    """A document."""
    size = entry.size(name)
    if not 0 <= size <= LARGEST:
        raise Refused("damaged", f"{name} has {size:,} bytes, more than a document of a stage ({LARGEST:,})")
    with entry.remote.reached():
        content: bytes = entry.remote.fs.cat_file(f"{entry.folder}/{name}", start=0, end=size) if size else b""
    return content[:LARGEST]


def _check_names(names: Collection[str]) -> None:
    """Refuse the name of a file that is another path on some system, that is a folder too, or that is no artifact's."""
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in names:
        parts = PurePosixPath(name).parts
        plain = "/".join(parts) == name and all(part != ".." and len(part.encode()) <= LONGEST_PART for part in parts)
        odd = "\\" in name or not name.isprintable() or len(name) > LONGEST_NAME
        if not plain or odd or name in folders or name == "manifest.json":
            raise Refused("damaged", f"{MANIFEST} has the name {name[:60]!r}, which no file of a result has")
