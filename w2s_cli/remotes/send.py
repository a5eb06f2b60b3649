"""One finished stage from this store into an object store (S3, GS, the hub, …). A folder on this machine is a store, and fetches instead.

* The order is that of a worker: files, stage.json, manifest.json, record.json last. So a killed push leaves no stage that looks complete,
  and the same command goes on with the files that are missing there.
* Every file is hashed before it leaves, so a damaged one stays, and is compared after it arrived: by the store's own checksum where that
  is one of the content (an MD5 as ETag of S3 in one or several parts, md5Hash of GS, sha256 of the hub), else by reading it back.
* An object appears when its upload is complete, so no temporary names are needed. A file of a file system (sftp) may be torn; it has
  another size then, or another digest when it is read back, and is sent again.
* The record is sent without this machine's file times, stage.json without its settings of execution.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.remotes.address import Remote
from w2s_cli.remotes.fetch import ADDED, CHUNK, COPIED, THERE, Outcome, Watch, download
from w2s_cli.remotes.listing import MANIFEST, RECORD, STAGE, Entry
from w2s_cli.remotes.offers import Refused
from w2s_cli.store.claims import reading
from w2s_cli.store.faults import fault
from w2s_cli.store.files import json_bytes
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.shapes import read_manifest, read_own_job, read_record

PART = 50 << 20  # bytes of a part of an upload to S3, as s3fs cuts it


def send(folder: Path, remote: Remote, there: Entry | None, *, watch: Watch = lambda count: None) -> Outcome:
    """Copy the finished stage in `folder` to a remote, unless it is there; `there` is the remote's entry of its key.

    Raises:
        Refused: the stage is not finished, or damaged on one of both sides, or the remote has another result under its key.
        UnreachableError: the remote fails.
    """
    key = folder.name[-KEY_DIGITS:]
    with reading(folder):
        job, record, manifest = read_own_job(folder), read_record(folder), read_manifest(folder)
        if job is None or record is None or manifest is None:
            raise Refused("not finished", "it has no record, or an unreadable file")
        there = there or Entry(remote, key, f"{remote.root}/stages/{folder.parent.name}/{folder.name}", {})
        content = (folder / MANIFEST).read_bytes()
        if there.complete and not _holds(there, MANIFEST, Sums.of(content)):
            raise Refused("conflict", f"the same key has another result in {remote.url}: both stay as they are")
        names = [name for name in manifest["files"] if name not in record.get("pruned", ())]
        lacking = [name for name in names if there.size(f"result/{name}") < 0]
        torn = [name for name in names if there.size(f"result/{name}") not in (-1, manifest["files"][name]["size"])]
        if there.complete and torn:
            raise Refused(
                "damaged there",
                f"result/{torn[0]} has another size in {remote.url}: remove the stage there, and push it again",
            )
        if there.complete and not lacking:
            return Outcome(key, folder.name, THERE)
        copied = 0
        for name in lacking if there.complete else names:
            copied += _send_file(folder / "result" / name, f"result/{name}", manifest["files"][name], there, watch)
            fault("send.file")
        if not there.complete:
            ours = {name: value for name, value in job.items() if name != "execution"}
            _write(there, STAGE, json_bytes({**ours, "execution": {}}))
            _write(there, MANIFEST, content)
        fault("send.before-record")
        _write(there, RECORD, json_bytes({name: v for name, v in record.items() if name not in ("times", "pulled")}))
        fault("send.recorded")
    return Outcome(key, folder.name, ADDED if there.complete else COPIED, bytes=copied)


class Sums:
    """The checksums of some bytes that stores keep."""

    def __init__(self, part: int = PART) -> None:
        self.sha256, self.md5, self.size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        self.part, self.parts = part, [hashlib.md5(usedforsecurity=False)]

    @classmethod
    def of(cls, content: bytes) -> "Sums":
        """Of bytes in memory."""
        sums = cls()
        sums.add(content)
        return sums

    def add(self, piece: bytes) -> None:
        """Go on with the next bytes."""
        self.sha256.update(piece)
        self.md5.update(piece)
        while piece:
            room = self.part - self.size % self.part
            if self.size and room == self.part:
                self.parts.append(hashlib.md5(usedforsecurity=False))
            self.parts[-1].update(piece[:room])
            self.size += len(piece[:room])
            piece = piece[room:]

    def proved_by(self, facts: Mapping[str, Any]) -> bool:
        """Whether a store's facts about a file prove that it holds these bytes; without a proof nothing is known."""
        joined = hashlib.md5(b"".join(part.digest() for part in self.parts), usedforsecurity=False).hexdigest()
        etags = (self.md5.hexdigest(), f"{joined}-{math.ceil(self.size / self.part)}")
        lfs = facts.get("lfs")
        return (
            str(facts.get("ETag", "")).strip('"') in etags
            or facts.get("md5Hash") == base64.b64encode(self.md5.digest()).decode()
            or (isinstance(lfs, Mapping) and lfs.get("sha256") == self.sha256.hexdigest())
        )


def _send_file(path: Path, name: str, expected: Mapping[str, Any], there: Entry, watch: Watch) -> int:
    """Send a file unless it is there; returns the bytes that were sent."""
    sums = Sums()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            sums.add(piece)
    if sums.sha256.hexdigest() != expected["sha256"]:
        raise Refused(
            "damaged", f"{name} has other bytes here than its manifest says; w2s doctor --verify lists such stages"
        )
    if there.size(name) == sums.size and _holds(there, name, sums):
        return 0
    target = f"{there.folder}/{name}"
    with there.remote.reached():
        there.remote.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        there.remote.fs.put_file(str(path), target, callback=_watched(watch))
        facts = there.remote.fs.info(target)
    now = Entry(there.remote, there.key, there.folder, {name: facts})
    if now.size(name) != sums.size or not _holds(now, name, sums):
        raise Refused("damaged", f"{name} did not arrive as it was sent; run the same command again")
    return sums.size


def _holds(there: Entry, name: str, sums: Sums) -> bool:
    """Whether the remote's file has these bytes: by a proof of the store, else by reading it."""
    if there.size(name) != sums.size:
        return False
    if sums.proved_by(there.files[name]):
        return True
    return (
        download(there.remote, f"{there.folder}/{name}", None, sums.size, lambda count: None) == sums.sha256.hexdigest()
    )


def _write(there: Entry, name: str, content: bytes) -> None:
    target = f"{there.folder}/{name}"
    with there.remote.reached():
        there.remote.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        there.remote.fs.pipe_file(target, content)


def _watched(watch: Watch) -> Any:
    """A callback of fsspec that tells `watch` the bytes of each step."""
    from fsspec.callbacks import Callback

    done = 0

    def told(size: int | None, value: int, **_: Any) -> None:
        nonlocal done
        watch(max(value - done, 0))
        done = value

    return Callback(hooks={"watch": told})
