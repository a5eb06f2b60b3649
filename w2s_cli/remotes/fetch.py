"""One stage from a remote into a store on this machine, by the steps of a worker: claim, result.tmp/, one rename, record last.

* The claim keeps workers, `w2s rm` and `w2s gc` away, so a pull beside any other command is safe.
* Every file is hashed while it is written and compared with the manifest. A file that an earlier, killed copy left in result.tmp/ counts
  if it has its digest; anything else there is removed. Large files are resumed file by file.
* A finished stage is left alone. The only addition is of weights that were left out or removed, if the remote has them.
* `whole=False` leaves out weights and features, which no table reads; the record then lists them as pruned, so that a stage that needs
  them asks for them.
* stage.json is written anew from the checked identity. Its settings of execution are another machine's, and one names folders of code.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.remotes.address import Remote
from w2s_cli.remotes.listing import Entry, is_weights
from w2s_cli.remotes.offers import Offer, Refused, read_offer, read_record_of
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import claim, owner
from w2s_cli.store.faults import fault
from w2s_cli.store.files import digest, safe_name, sync, walk, write_bytes
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.shapes import read_job, read_record
from w2s_cli.store.store import Store

CHUNK = 8 << 20  # bytes of one request
COPIED, THERE, ADDED = "copied", "already there", "weights added"
Watch = Callable[[int], None]  # is told the bytes that were copied; may raise, to stop


class Outcome(NamedTuple):
    """The outcome of one stage."""

    key: str
    name: str  # of its folder
    word: str  # COPIED, THERE, ADDED, or why not
    detail: str = ""
    bytes: int = 0
    left_out: int = 0  # files of weights

    @property
    def fine(self) -> bool:
        """Whether the stage is where it should be."""
        return self.word in (COPIED, THERE, ADDED)


def fetch(entry: Entry, store: Store, *, whole: bool = True, watch: Watch = lambda count: None) -> Outcome:
    """Copy a stage into the store, unless the store has it.

    Raises:
        Refused: the remote stage is damaged, the store has another result under its key, or a process works on the stage.
        UnreachableError: the remote fails.
        StoreError, OSError: the store cannot be written.
    """
    folder = store.folder(entry.key)
    if folder and (ready := _present(folder, entry, store, whole=whole)):
        return ready
    offer = read_offer(entry)
    if folder is None or read_job(folder) is None:
        slug = safe_name(entry.folder.rpartition("/")[2][: -KEY_DIGITS - 1])
        folder = store.prepare(offer.identity, name=offer.job["name"], slug=slug, execution={})
    store.compare(folder, offer.identity)
    with claim(folder) as claimed:
        if not claimed:
            raise Refused("busy", f"{owner(folder)} works on it")
        ready = _present(folder, entry, store, whole=whole)
        if ready:
            return ready
        record = read_record(folder)
        if record and not publish.damage(folder, cache=store.digests):
            return _add_weights(folder, record, offer, store, watch)
        return _copy(folder, offer, store, watch, whole=whole)


def _present(folder: Path, entry: Entry, store: Store, *, whole: bool) -> Outcome | None:
    """The outcome of a stage that the store has, and that nothing is to be added to; None else."""
    record = read_record(folder)
    if record is None or publish.damage(folder, cache=store.digests):
        return None
    if read_record_of(entry)["result"] != record["result"]:
        raise Refused(
            "conflict",
            f"the same key has another result in {folder.parents[2]} and in {entry.url}: both stay as they are",
        )
    lacking = record.get("pruned", ())
    if lacking and whole and entry.has(lacking):
        return None
    return Outcome(entry.key, folder.name, THERE)


def _copy(folder: Path, offer: Offer, store: Store, watch: Watch, *, whole: bool) -> Outcome:
    """A claimed stage without a sound result gets the remote's."""
    staged = store.own(folder / "result.tmp")
    if not (folder / "record.json").exists() and (folder / "result").is_dir() and not staged.exists():
        os.rename(folder / "result", staged)  # a copy that was killed before its record
    names = [name for name in offer.present if whole or not is_weights(name)]
    copied = _download(staged, offer, names, store, watch)
    write_bytes(staged / "manifest.json", offer.manifest)
    for inner in sorted(path for path in (staged, *staged.rglob("*")) if path.is_dir()):
        sync(inner)
    fault("fetch.downloaded")
    left_out = sorted(set(offer.files) - set(names))
    record = {name: value for name, value in offer.record.items() if name not in ("pruned", "times")}
    publish.install(folder, {**record, "pulled": offer.entry.url, **({"pruned": left_out} if left_out else {})})
    return Outcome(offer.entry.key, folder.name, COPIED, bytes=copied, left_out=len(left_out))


def _add_weights(folder: Path, record: dict[str, Any], offer: Offer, store: Store, watch: Watch) -> Outcome:
    """A claimed, finished stage gets the files that its record lists as pruned."""
    if offer.record["result"] != record["result"]:  # the remote has changed since it was compared
        raise Refused("conflict", f"the result of the stage in {offer.entry.url} is another one than a moment ago")
    staged = store.own(folder / "result.tmp")
    names = [name for name in record["pruned"] if name in offer.present]
    copied = _download(staged, offer, names, store, watch)
    for name in names:
        target = store.own(folder / "result" / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / name, target)
        sync(target.parent)
    fault("fetch.weights-moved")
    left_out = [name for name in record["pruned"] if name not in names]
    kept = {name: value for name, value in record.items() if name != "pruned"}
    publish.write_record(folder, {**kept, **({"pruned": left_out} if left_out else {})})
    shutil.rmtree(staged, ignore_errors=True)
    return Outcome(offer.entry.key, folder.name, ADDED, bytes=copied, left_out=len(left_out))


def _download(staged: Path, offer: Offer, names: Iterable[str], store: Store, watch: Watch) -> int:
    """Fill result.tmp/ with these files, and nothing else; returns the bytes that were copied."""
    wanted = set(names)
    staged.mkdir(exist_ok=True)
    for path in walk(staged):
        if path.relative_to(staged).as_posix() not in wanted:
            path.unlink()
    copied = 0
    for name in sorted(wanted):
        expected, path = offer.files[name], store.own(staged / name)
        if path.is_file() and path.stat().st_size == expected["size"] and digest(path) == expected["sha256"]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        source = f"{offer.entry.folder}/result/{name}"
        if download(offer.entry.remote, source, path, expected["size"], watch) != expected["sha256"]:
            path.unlink()
            raise Refused("damaged", f"result/{name} has other bytes than its manifest says")
        copied += expected["size"]
        fault("fetch.file")
    return copied


def download(remote: Remote, source: str, target: Path | None, size: int, watch: Watch) -> str:
    """The sha256 of a remote file of `size` bytes, which is written to `target` if one is named; never more than `size` bytes are read."""
    hashed, left = hashlib.sha256(), size
    with remote.reached():
        reader = remote.fs.open(source, "rb", cache_type="none")
    with reader, open(target or os.devnull, "wb") as file:
        while left:
            with remote.reached():
                piece = reader.read(min(CHUNK, left))
            if not piece:
                break
            hashed.update(piece)
            file.write(piece)
            left -= len(piece)
            watch(len(piece))
        if target is not None:
            file.flush()
            os.fsync(file.fileno())
    return hashed.hexdigest()
