"""The outputs folder: the place of a stage, and its state.

    outputs/stages/<kind>/<slug>-<key>/   stage.json result/ record.json work/ log.txt metrics.jsonl .lock failed.json
    outputs/runs/<date>/<time>-<slug>/    one command's config, plan and results
    outputs/sweeps/<date>/<time>-<slug>/  the same for a multirun

* The key identifies a stage's folder; the slug is for people.
* stage.json holds the whole job: its identity and, under `execution`, the further options of a worker.
* The state is read from files only, so every process, and a person with `ls`, sees the same state.
"""

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.store import keys, locks
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import is_claimed
from w2s_cli.store.files import DIGESTS, read_json, write_json
from w2s_cli.store.places import StoreError, command_line, owned, owned_stage
from w2s_cli.store.position import position
from w2s_cli.store.queued import read_queued
from w2s_cli.store.shapes import read_job, read_manifest, read_record

STATES = ("done", "failed", "resumable", "running", "queued", "damaged", "missing", "older")
NO_ROOM = {  # error of a disk that another command can make right → its words
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "no space left in this user's quota",
    errno.EFBIG: "a file would be larger than this process may write (ulimit -f), and there is no space",
}
OLDER = "made by an older w2s: run the command again, or remove it with w2s gc"


@dataclass
class State:
    """The state of a stage, from the files in its folder."""

    word: str  # one of STATES
    detail: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str | None:
        """The digest of the result, as downstream stages record it; None unless the stage is done."""
        return self.record.get("result") if self.word == "done" else None

    @property
    def pruned(self) -> bool:
        """Whether the weights were removed on purpose."""
        return bool(self.record.get("pruned"))


class Store:
    """The stages under one root, with a cache of their folders."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._folders: dict[str, Path] | None = None
        self._listed: dict[
            Path, tuple[int, int]
        ] = {}  # folder of a kind → its stamp when this process last added to it

    def make(self) -> None:
        """Make the outputs folder; StoreError if it cannot be made."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(unwritable(self.root, error)) from error

    def own(self, path: Path) -> Path:
        """`path`, which is going to be written or removed; StoreError if it does not lie in the store's real path."""
        return owned(path, self.root)

    @property
    def stages(self) -> Path:
        return self.root / "stages"

    @property
    def cache(self) -> Path:
        """Files that can be made again: digests, code hashes, commits of hub branches, token rows, joined tables."""
        return self.own(self.root / ".cache")

    @property
    def digests(self) -> Path:
        """The cache of file digests."""
        return self.cache / DIGESTS

    def folders(self, *, refresh: bool = False) -> dict[str, Path]:
        """key → folder, of every stage under the root."""
        if self._folders is None or refresh:
            self._folders = {}
            for kind in sorted(path for path in self.stages.glob("*") if path.is_dir()):
                with os.scandir(kind) as entries:
                    for entry in entries:
                        match = re.fullmatch(rf".*-([0-9a-f]{{{keys.KEY_DIGITS}}})", entry.name)
                        if match and entry.is_dir():
                            self._folders[match[1]] = Path(entry.path)
        return self._folders

    def folder(self, key: str) -> Path | None:
        """The stage's folder, if it exists."""
        return self.folders().get(key)

    def has_older(self, kind: str, slug: str) -> bool:
        """Whether a stage of an older format has this kind and slug: probably the same job under its older key."""
        named = (folder for key, folder in self.folders().items() if folder.name == f"{slug}-{key}")
        return any(is_older(folder) for folder in named if folder.parent.name == kind)

    def match(self, prefix: str) -> list[Path]:
        """Folders whose key begins with `prefix`."""
        return [path for key, path in sorted(self.folders(refresh=True).items()) if key.startswith(prefix.lower())]

    def prepare(self, ident: Mapping[str, Any], *, name: str, slug: str, execution: Mapping[str, Any]) -> Path:
        """Make the stage's folder and write stage.json; returns the folder.

        Raises:
            StoreError: another identity under the same key, a folder that cannot be written, or one outside of the store.
        """
        key = keys.stage_key(ident)
        folder = owned_stage(self.folder(key) or self._make_folder(self.stages / ident["kind"], slug, key))
        self.compare(folder, ident)
        job = {**ident, "key": key, "name": name, "execution": dict(execution)}
        if read_json(folder / "stage.json") != job:
            try:
                write_json(folder / "stage.json", job)
            except OSError as error:
                raise StoreError(unwritable(folder, error)) from error
        return folder

    def _make_folder(self, kind: Path, slug: str, key: str) -> Path:
        """Find or make the folder of a key; two commands with different slugs at the same time get one folder."""
        try:
            self.own(kind).mkdir(parents=True, exist_ok=True)
            with locks.exclusive(self.own(kind / ".lock"), self.root, wait=True):
                folder = kind / f"{slug}-{key}"
                if self._listed.get(kind) != _stamp(
                    kind
                ):  # else no other command has made a folder: a sweep has thousands
                    folder = next(kind.glob(f"*-{key}"), folder)
                folder.mkdir(exist_ok=True)
                self._listed[kind] = _stamp(kind)
        except OSError as error:
            raise StoreError(unwritable(self.root, error)) from error
        self.folders()[key] = folder
        return folder

    def compare(self, folder: Path, ident: Mapping[str, Any]) -> None:
        """Refuse a folder whose stage.json has another identity than its key."""
        job = read_job(folder)
        if job is None:
            return
        stored = {name: job.get(name) for name in keys.IDENTITY}
        if keys.canonical_json(stored) != keys.canonical_json(ident):
            raise StoreError(
                f"{folder}/stage.json does not hold the stage that its key {keys.stage_key(ident)} names: it was edited, or two "
                f"stages share a key. Remove it with: {command_line(self.root, 'rm', keys.stage_key(ident))}"
            )

    def state(self, key: str) -> State:
        """The state of a stage."""
        folder = self.folder(key)
        return State("missing") if folder is None else folder_state(folder, cache=self.digests)


def _stamp(folder: Path) -> tuple[int, int]:
    """What changes when a folder gets a new one."""
    status = folder.stat()
    return status.st_mtime_ns, status.st_nlink


def folder_state(folder: Path, *, full: bool = False, cache: Path | None = None, verify: bool = True) -> State:
    """The state of one stage folder; without `verify` only the manifest is checked, with the metrics (to list thousands of stages)."""
    record = read_record(folder)
    if is_older(folder, record):
        return State("older", OLDER, record or {})
    if record is not None:
        if verify:
            problems = publish.damage(folder, full=full, cache=cache)
        else:
            problems = [] if publish.is_recorded(folder, record) else [publish.NOT_RECORDED]
        if problems:
            return State("damaged", "; ".join(problems), record)
        manifest = read_manifest(folder) or {}
        return State("done", record=record, metrics=manifest.get("metrics", {}))
    if (folder / "record.json").exists():
        return State("damaged", "record.json is unreadable")
    if is_claimed(folder):
        return State("running", position(folder, running=True))
    if job := read_queued(folder.parents[2], folder.name[-keys.KEY_DIGITS :]):
        return State("queued", f"{job['launcher']} job {job['job']}")
    failed = read_json(folder / "failed.json")
    if failed is not None:
        return State("failed", str(failed.get("message", "")) if isinstance(failed, dict) else "")
    if (folder / "work").is_dir() and any((folder / "work").iterdir()):
        return State("resumable", position(folder, running=False))
    return State("missing")


def is_older(folder: Path, record: dict[str, Any] | None = None) -> bool:
    """Whether an older w2s, with another format of keys, made the stage: from its `record`, or without one from stage.json."""
    job = record or read_job(folder)
    return job is not None and job.get("format", 1) < keys.FORMAT


def unwritable(path: Path, error: OSError) -> str:
    """The message for a folder that cannot be written, with its owner."""
    existing = next((p for p in (path, *path.parents) if p.exists()), path)
    if not existing.is_dir():
        return f"{existing} is no folder, so {path} cannot be written: choose another outputs folder with outputs=DIR."
    try:
        held_by = existing.owner()
    except (KeyError, OSError):
        held_by = "another user"
    return (
        f"cannot write to {path}: {error.strerror or error}. {existing} belongs to {held_by}. "
        f"Choose another outputs folder with outputs=DIR, or ask for write access."
    )


def disk_message(error: OSError, folder: Path) -> str:
    """The message for a stage that cannot be written or read."""
    if error.errno in NO_ROOM:
        listing, what = command_line(folder.parents[2], "gc"), NO_ROOM[error.errno]
        return f"{what} for {folder}. Free some ({listing} lists what can go), then run the same command: it continues."
    return f"{error.strerror or error}: {error.filename or folder}"
