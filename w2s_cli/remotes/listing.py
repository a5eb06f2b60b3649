"""The stages of a remote, by one listing: which are complete, with the size of every file.

* One listing serves all stages, so a plan of thousands asks once. It trusts names only; a copy checks everything.
* Only the files of a finished stage count: stage.json, record.json and result/. Checkpoints, logs and old results are not shared.
* A remote has the layout of an outputs folder. What a person names for `w2s import` may also lie inside of one: stages/, a kind, a stage.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from w2s_cli.remotes.address import Remote, UnreachableError
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.publishing import WEIGHTS

DOCUMENTS = (STAGE, RECORD, MANIFEST) = ("stage.json", "record.json", "result/manifest.json")
_FILE = re.compile(
    rf"(?P<folder>(?:[^/]+/){{0,2}}?[^/]*-(?P<key>[0-9a-f]{{{KEY_DIGITS}}}))/(?P<name>stage\.json|record\.json|result/.+)"
)


@dataclass(frozen=True)
class Entry:
    """One stage of a remote, as the listing has it."""

    remote: Remote
    key: str  # by the folder's name; not checked
    folder: str  # in the words of the remote's file system
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)  # path in the folder → fsspec's facts, with its size

    @property
    def url(self) -> str:
        """The URL of its store."""
        return self.remote.url

    @property
    def complete(self) -> bool:
        """Whether the stage is finished there."""
        return all(name in self.files for name in DOCUMENTS)

    def has(self, names: Iterable[str]) -> bool:
        """Whether it has all these files of a result."""
        return all(f"result/{name}" in self.files for name in names)

    def size(self, name: str) -> int:
        """The bytes of a file of the folder; -1 of none."""
        size = self.files.get(name, {}).get("size")
        return size if isinstance(size, int) else -1

    def bytes(self, *, whole: bool) -> int:
        """The bytes of its files, with or without weights."""
        return sum(max(self.size(name), 0) for name in self.files if whole or not is_weights(name))


def is_weights(name: str) -> bool:
    """Whether a file holds weights or features: what a table never reads."""
    return name.endswith(WEIGHTS)


def listing(remote: Remote, *, inside: bool = False) -> dict[str, Entry]:
    """key → stage, of the stages of a remote, complete or not.

    Args:
        inside: the folder may also be a part of an outputs folder: stages/, a kind or a stage.

    Raises:
        UnreachableError: the remote cannot be listed.
    """
    if remote.folder is not None and not remote.folder.is_dir():
        raise UnreachableError(f"{remote.url} cannot be used: there is no such folder.")
    base = f"{remote.root}/stages"
    with remote.reached():
        remote.fs.invalidate_cache()
        if inside and not remote.fs.isdir(base):
            base = remote.root.rpartition("/")[0]
            paths = remote.fs.find(remote.root, detail=True)
        else:
            paths = remote.fs.find(base, detail=True)
        if not paths:
            with suppress(FileNotFoundError):  # a new place
                remote.fs.ls(remote.root)  # `find` takes an error of the connection for an empty folder
    folders: dict[str, tuple[str, dict[str, Mapping[str, Any]]]] = {}
    for path, facts in paths.items():
        match = _FILE.fullmatch(path.removeprefix(f"{base}/"))
        if match:
            folders.setdefault(f"{base}/{match['folder']}", (match["key"], {}))[1][match["name"]] = facts
    entries: dict[str, Entry] = {}
    for folder, (key, files) in folders.items():
        entry = Entry(remote, key, folder, files)
        if key not in entries or not entries[key].complete:
            entries[key] = entry
    return entries


def complete(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Only the finished stages."""
    return {key: entry for key, entry in entries.items() if entry.complete}
