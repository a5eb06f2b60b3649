"""One finished stage from this store into an object store (S3, GS, the hub, …). A folder on this machine is a store, and fetches instead.

* The order is that of a worker: files, stage.json, manifest.json, record.json last. So a killed push leaves no stage that looks complete,
  and the same command goes on with the files that are missing there.
* Every file is hashed before it leaves, so a damaged one stays, and is compared after it arrived: by the store's own checksum where that
  is one of the content (`checksums`), else by reading it back.
* A repository of the hub gets a stage in one commit (`hub_commits`).
* An object appears when its upload is complete, so no temporary names are needed. A file of a file system (sftp) may be torn; it has
  another size then, or another digest when it is read back, and is sent again.
* The record is sent without this machine's file times, stage.json without its settings of execution.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.remotes.address import Remote
from w2s_cli.remotes.checksums import Sums
from w2s_cli.remotes.fetch import ADDED, CHUNK, COPIED, THERE, Outcome, Watch, download
from w2s_cli.remotes.hub_commits import commit
from w2s_cli.remotes.listing import MANIFEST, RECORD, STAGE, Entry
from w2s_cli.remotes.offers import Refused
from w2s_cli.store.claims import reading
from w2s_cli.store.faults import fault
from w2s_cli.store.files import json_bytes
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.shapes import read_manifest, read_own_job, read_record


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
        documents = {RECORD: json_bytes({name: v for name, v in record.items() if name not in ("times", "pulled")})}
        if not there.complete:
            ours = {name: value for name, value in job.items() if name != "execution"}
            documents = {STAGE: json_bytes({**ours, "execution": {}}), MANIFEST: content, **documents}
        files = {f"result/{name}": manifest["files"][name] for name in (lacking if there.complete else names)}
        copied = (_in_a_commit if remote.commits else _one_by_one)(folder, files, documents, there, watch)
        fault("send.recorded")
    return Outcome(key, folder.name, ADDED if there.complete else COPIED, bytes=copied)


Facts = Mapping[str, Mapping[str, Any]]  # name in the stage's folder → size and sha256 of its manifest


def _one_by_one(folder: Path, files: Facts, documents: Mapping[str, bytes], there: Entry, watch: Watch) -> int:
    """Send what is missing, file by file, the record last; returns the bytes of results that were sent."""
    copied = 0
    for name, expected in files.items():
        sums = _sums(folder, name, expected)
        if not _holds(there, name, sums):
            _send_file(folder / name, name, sums, there, watch)
            copied += sums.size
        fault("send.file")
    for name, content in documents.items():
        if name == RECORD:
            fault("send.before-record")
        _write(there, name, content)
    return copied


def _in_a_commit(folder: Path, files: Facts, documents: Mapping[str, bytes], there: Entry, watch: Watch) -> int:
    """The same, all at once."""
    sums = {name: _sums(folder, name, expected) for name, expected in files.items()}
    missing = {name: folder / name for name in files if not _holds(there, name, sums[name])}
    with there.remote.reached():
        now = commit(there, {**missing, **documents}, watch)
    for name in missing:
        _check_arrived(now, name, sums[name])
    for name, content in documents.items():
        _check_arrived(now, name, Sums.of(content))
    return sum(sums[name].size for name in missing)


def _sums(folder: Path, name: str, expected: Mapping[str, Any]) -> Sums:
    """The checksums of a file here, which is as its manifest says."""
    path = folder / name
    sums = Sums(path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            sums.add(piece)
    if sums.sha256.hexdigest() != expected["sha256"]:
        raise Refused(
            "damaged", f"{name} has other bytes here than its manifest says; w2s doctor --verify lists such stages"
        )
    return sums


def _send_file(path: Path, name: str, sums: Sums, there: Entry, watch: Watch) -> None:
    """Send a file."""
    target = f"{there.folder}/{name}"
    with there.remote.reached():
        there.remote.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        there.remote.fs.put_file(str(path), target, callback=_watched(watch))
        facts = there.remote.fs.info(target)
    _check_arrived(Entry(there.remote, there.key, there.folder, {name: facts}), name, sums)


def _check_arrived(now: Entry, name: str, sums: Sums) -> None:
    if not _holds(now, name, sums):
        raise Refused("damaged", f"{name} did not arrive as it was sent; run the same command again")


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
