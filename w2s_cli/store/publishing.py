"""How a result becomes visible: manifest, one rename to result/, record.json last. And how it is checked afterwards.

* `record.json` present ⇔ the stage is complete. It holds the digest of manifest.json, which holds the digest of every file, so one
  changed byte anywhere is noticed.
* Every step may be the last one before a power cut: files are synced before the rename, the rename before the record.
* `result/` without a record (killed between the last two steps) is verified and adopted. A redo moves the old result to old/<run id>
  first, since a rename onto a full folder fails.
* On use, everything small (labels, metrics, configs) is hashed; weights are compared by size and time, and hashed only when the time
  differs (a copied store) or when asked for in full. The manifest has no time and no host: the same stage gives the same bytes.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from w2s_cli.store.faults import fault
from w2s_cli.store.files import digest, read_json, sha256_file, sync, write_json
from w2s_cli.store.keys import FORMAT

WEIGHTS = (".safetensors", ".bin")  # too large to hash at every use


def publish(folder: Path, metrics: dict[str, Any], record: dict[str, Any]) -> None:
    """Make result.tmp/ the stage's result. `record` is provenance; the digests are added here."""
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
    fault("publish.manifest-written")
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


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """record.json: the last file of a stage."""
    result = folder / "result"
    times = {name: (result / name).stat().st_mtime_ns for name in read_json(result / "manifest.json")["files"]}
    write_json(
        folder / "record.json", {**record, "format": FORMAT, "result": digest(result / "manifest.json"), "times": times}
    )


def retire(folder: Path) -> None:
    """Move result/ and its record to old/<run id>: the stage is to be made again."""
    record = read_json(folder / "record.json") or {}
    target = folder / "old" / str(record.get("run", "unrecorded"))
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{target.name.split('~')[0]}~{number}")
    target.mkdir(parents=True)
    if (folder / "record.json").exists():  # first the record: without it the stage is no longer complete
        os.rename(folder / "record.json", target / "record.json")
    if (folder / "result").exists():
        os.rename(folder / "result", target / "result")
    sync(folder)


def damage(folder: Path, *, full: bool = False, cache: Path | None = None) -> list[str]:
    """What is wrong with a finished stage's result, one line a file; [] = sound. `full` hashes weights too."""
    record, manifest_path = read_json(folder / "record.json"), folder / "result" / "manifest.json"
    manifest = read_json(manifest_path)
    if record is None or "result" not in record:
        return ["record.json is missing or unreadable"]
    if manifest is None:
        return ["result/manifest.json is missing or cut short"]
    if digest(manifest_path) != record["result"]:
        return ["result/manifest.json is not the one that was recorded"]
    return contents_damage(folder, manifest, record, full=full, cache=cache)


def contents_damage(
    folder: Path, manifest: dict[str, Any], record: dict[str, Any], *, full: bool, cache: Path | None
) -> list[str]:
    """Compare the files of result/ with the manifest."""
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
    """Complete a stage that was killed between the rename and the record; False if there is nothing sound to adopt."""
    manifest = read_json(folder / "result" / "manifest.json")
    if manifest is None or contents_damage(folder, manifest, {}, full=True, cache=None):
        return False
    write_record(folder, {**record, "adopted": True})
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "failed.json").unlink(missing_ok=True)
    return True


def prune_weights(folder: Path) -> int:
    """Remove the weights of a finished stage and note it in the record; returns the bytes freed."""
    record = read_json(folder / "record.json")
    manifest = read_json(folder / "result" / "manifest.json")
    if record is None or manifest is None:
        return 0
    weights = [n for n in manifest["files"] if Path(n).suffix in WEIGHTS and n.startswith("model/")]
    present = [n for n in weights if (folder / "result" / n).exists()]
    if not present:
        return 0
    write_json(folder / "record.json", {**record, "pruned": weights})  # before the files go: a kill leaves no "damage"
    fault("prune.noted")
    freed = 0
    for name in present:
        path = folder / "result" / name
        freed += path.stat().st_size
        path.unlink()
    return freed
