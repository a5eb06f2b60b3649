"""Publishing a result (manifest, one rename to result/, record.json last), and checking it afterwards.

* `record.json` exists ⇔ the stage is complete. The record holds the digest of manifest.json, and the manifest holds the digest of every
  file, so one changed byte anywhere is noticed.
* A power cut may follow any step: files are synced before the rename, the rename before the record.
* A `result/` without a record (killed between the last two steps) is verified and adopted. A redo first moves the old result to
  old/<run id>, because a rename onto a full folder fails.
* On use, small files (labels, metrics, configs) are hashed. Weights are compared by size and time, and hashed only if the time differs (a
  copied store) or for a `full` check. The manifest has no time and no host, so the same stage gives the same bytes.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from w2s_cli.store.faults import fault
from w2s_cli.store.files import digest, give_mode, safe_name, sha256_file, sync, write_json
from w2s_cli.store.keys import FORMAT, KEY_DIGITS
from w2s_cli.store.places import StoreError, command_line, owned
from w2s_cli.store.shapes import read_manifest, read_record

WEIGHTS = (".safetensors", ".bin")  # too large to hash at every use
NOT_RECORDED = "result/manifest.json is not the recorded manifest"


def publish(folder: Path, metrics: dict[str, Any], record: dict[str, Any]) -> None:
    """Make result.tmp/ the stage's result. `record` holds the provenance; this function adds the digests."""
    staged = folder / "result.tmp"
    fault("publish.begin")
    files = {}
    for path in sorted(p for p in staged.rglob("*") if p.is_file()):
        sync(path)
        files[path.relative_to(staged).as_posix()] = {"size": path.stat().st_size, "sha256": digest(path)}
    for inner in sorted(p for p in staged.rglob("*") if p.is_dir()):
        sync(inner)
    fault("publish.synced")
    write_json(staged / "manifest.json", {"files": files, "metrics": metrics})
    give_mode((staged / name for name in files), like=staged / "manifest.json")
    fault("publish.manifest-written")
    install(folder, record)


def install(folder: Path, record: dict[str, Any]) -> None:
    """Make result.tmp/, which is on the disk with its manifest, the stage's result; the record comes last."""
    staged = folder / "result.tmp"
    if (folder / "result").exists():
        retire(folder)
        fault("publish.old-moved")
    os.rename(staged, folder / "result")
    sync(folder)
    fault("publish.renamed")
    write_record(folder, record)
    fault("publish.recorded")
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "failed.json").unlink(missing_ok=True)
    fault("publish.cleaned")


def write_failed(folder: Path, message: str) -> None:
    """failed.json of a stage whose worker could not write it."""
    write_json(folder / "failed.json", {"event": "failed", "message": message, "user": False, "time": time.time()})


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """record.json: the last file of a stage. `record` names the weights that are left out, as `pruned`."""
    result = folder / "result"
    names = (read_manifest(folder) or {"files": ()})["files"]
    times = {n: (result / n).stat().st_mtime_ns for n in names if n not in record.get("pruned", ())}
    write_json(
        folder / "record.json", {**record, "format": FORMAT, "result": digest(result / "manifest.json"), "times": times}
    )


def retire(folder: Path) -> None:
    """Move result/ and its record to old/<run id>, so that the stage can be made again."""
    record = read_record(folder) or {}
    target = folder / "old" / safe_name(record.get("run", "unrecorded"))
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{target.name.split('~')[0]}~{number}")
    target.mkdir(parents=True)
    if (folder / "record.json").exists():  # the record first: without a record the stage is not complete
        os.rename(folder / "record.json", target / "record.json")
    if (folder / "result").exists():
        os.rename(folder / "result", target / "result")
    sync(folder)


def damage(folder: Path, *, full: bool = False, cache: Path | None = None) -> list[str]:
    """The damaged files of a finished stage's result, one line a file; [] = sound. `full` hashes weights too."""
    record, manifest = read_record(folder), read_manifest(folder)
    if record is None or "result" not in record:
        return ["record.json is missing or unreadable"]
    if manifest is None:
        return ["result/manifest.json is missing or unreadable"]
    if not is_recorded(folder, record):
        return [NOT_RECORDED]
    return contents_damage(folder, manifest, record, full=full, cache=cache)


def is_recorded(folder: Path, record: dict[str, Any]) -> bool:
    """Whether the manifest is the recorded one: the whole check that a list of thousands of stages can afford."""
    try:
        return bool(digest(folder / "result" / "manifest.json") == record.get("result"))
    except OSError:
        return False


def contents_damage(
    folder: Path, manifest: dict[str, Any], record: dict[str, Any], *, full: bool, cache: Path | None
) -> list[str]:
    """The differences between the files of result/ and the manifest, one line a file."""
    problems = []
    pruned = set(record.get("pruned", ()))
    for name, expected in manifest["files"].items():
        path = folder / "result" / name
        if name in pruned:
            continue
        if not path.is_file():
            problems.append(f"result/{name} is missing")
        elif path.stat().st_size != expected["size"]:
            problems.append(f"result/{name} has {path.stat().st_size} bytes instead of {expected['size']}")
        elif path.suffix in WEIGHTS and not full:
            unchanged = record.get("times", {}).get(name) == path.stat().st_mtime_ns
            if not unchanged and sha256_file(path, cache) != expected["sha256"]:
                problems.append(f"result/{name} was changed")
        elif digest(path) != expected["sha256"]:
            problems.append(f"result/{name} was changed")
    return problems


def adopt(folder: Path, record: dict[str, Any]) -> bool:
    """Complete a stage that was killed between the rename and the record; False without a sound result."""
    manifest = read_manifest(folder)
    if manifest is None or contents_damage(folder, manifest, {}, full=True, cache=None):
        return False
    write_record(folder, {**record, "adopted": True})
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "failed.json").unlink(missing_ok=True)
    return True


def remove_stage(folder: Path) -> None:
    """Remove a claimed stage; its record goes first, so a kill half-way leaves no stage that looks complete."""
    (folder / "record.json").unlink(missing_ok=True)
    shutil.rmtree(folder)


def prune_weights(folder: Path) -> int:
    """Remove the weights of a finished stage and note this in the record; returns the number of freed bytes.

    Raises:
        StoreError: the manifest cannot be read, or a weight file lies outside of the store.
    """
    record, manifest = read_record(folder), read_manifest(folder)
    if record is None:
        return 0
    if manifest is None:
        raise StoreError(
            f"{folder}/result/manifest.json is missing or unreadable, so its weights are unknown. Remove the whole stage with: "
            f"{command_line(folder.parents[2], 'rm', folder.name[-KEY_DIGITS:])}"
        )
    weights = [n for n in manifest["files"] if Path(n).suffix in WEIGHTS and n.startswith("model/")]
    present = [n for n in weights if owned(folder / "result" / n, folder.parents[2]).exists()]
    if not present:
        return 0
    write_json(
        folder / "record.json", {**record, "pruned": weights}
    )  # before the removal, so that a kill leaves no "damage"
    fault("prune.noted")
    freed = 0
    for name in present:
        path = folder / "result" / name
        freed += path.stat().st_size
        path.unlink()
    return freed
