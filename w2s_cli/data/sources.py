"""The files of a split, and the identity of their bytes.

* One rule, a function of file names, serves local folders, snapshots of hub repositories and the hub's lists of files. It recognises
  `train.jsonl.gz`, `train-00000-of-00004.parquet`, `train/0000.parquet`, these inside `data/` or one other folder, and the files of the
  datasets library's `save_to_disk` (`train/data-00000-of-00001.arrow`).
* A split may also be a file name or a pattern (`splits.train: "harmless-base/*.jsonl.gz"`).
* A single file (or `Dataset.save_to_disk` folder) has no splits: it is the training split, and the test rows are a part of it.
* Of a `save_to_disk` folder, only the files that its state.json names hold rows: `map`, `filter` and `shuffle` leave caches beside them.
* The identity of local data is the content of its data files. Places, names, time stamps and notes beside the data do not matter.
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.store.files import read_json, sha256_file
from w2s_cli.store.keys import json_digest

SUFFIXES = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".json": "json",
    ".json.gz": "json",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
STATE = "state.json"  # of a save_to_disk folder: names the files with its rows
NOTES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", STATE)  # of the datasets library, without rows
CACHES = "cache-*.arrow"  # of the datasets library: results of map and filter, or indices of shuffle and select
FILES_SHOWN = 4  # file names in the message about a missing split
DEEPEST = 4  # levels of folders below data.path that are searched


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, in the order of their rows."""

    format: str  # one of FORMATS
    files: tuple[Path, ...]

    @property
    def shown(self) -> str:
        """The files' name in messages."""
        more = f" (and {len(self.files) - 1} more)" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"


def local_files(path: Path, splits: Mapping[str, str | None], data_format: str | None = None) -> dict[str, SplitFiles]:
    """Role (train, test) → files, for a local file or folder.

    Args:
        path: a file (all rows are "train") or a folder with the splits.
        splits: role → split name, file name, pattern, or null.
        data_format: one of FORMATS; null: by suffix.

    Raises:
        UserError: no such path, a split without files or with several candidates, an unknown suffix.
    """
    return {role: _typed(files, data_format) for role, files in _paths(path, splits).items()}


def fingerprint(path: Path, splits: Mapping[str, str | None], *, cache: Path | None = None, again: bool = False) -> str:
    """sha256 over the bytes of the files of `splits`; it stays when the folder is moved, touched or renamed.

    `cache` is a JSON file with the digests of unchanged files; `again` reads the bytes and corrects it (`store.files.sha256_file`).
    """
    used = {
        role: {"format": format_of(files[0].name), "files": [sha256_file(file, cache, again=again) for file in files]}
        for role, files in _paths(path, splits).items()
    }
    return json_digest(used)


def split_names(names: Sequence[str], split: str, *, where: str, config: str | None = None) -> list[str]:
    """The files of `split` among relative file `names` (with "/"), sorted.

    `config` is a hub configuration: a folder of that name takes precedence.
    """
    data_files = [name for name in names if format_of(name) and _may_hold_rows(PurePosixPath(name).name)]
    if exact := [name for name in names if name == split or ("*" in split and fnmatch.fnmatch(name, split))]:
        return sorted(exact)
    if config and (inside := [name for name in data_files if config in PurePosixPath(name).parts[:-1]]):
        data_files = inside
    groups: dict[tuple[str, str], list[str]] = {}  # (folder, suffix) → files that belong together
    for name in data_files:
        folder = _folder_of_split(name, split)
        if folder is not None:
            groups.setdefault((folder, _suffix(name)), []).append(name)
    if not groups:
        named = format_of(split) or "*" in split  # a file or a pattern, not the name of a split
        expected = (
            "" if named else f" Expected: a file {split}.jsonl, .csv or .parquet, or a folder {split} of such files."
        )
        raise UserError(
            f'{where} has no split "{split}" (data.splits).{did_you_mean(split, data_files, at_most=FILES_SHOWN)}{expected} '
            "One file of another name: data.path=FILE, or data.splits.train=FILE in a folder."
        )
    if len(groups) > 1:
        choices = ", ".join(sorted(files[0] for files in groups.values()))
        raise UserError(
            f'{where} has the split "{split}" more than once: {choices}. '
            "Name the folder with data.path=, or the file: data.splits.train=FILE"
        )
    files = sorted(next(iter(groups.values())))
    _refuse_missing_shards(files, where)
    return files


def format_of(name: str) -> str | None:
    """The format of a file by the suffix of its name; None for other suffixes."""
    return SUFFIXES.get(_suffix(name))


def _suffix(name: str) -> str:
    base = PurePosixPath(name).name.lower()
    return max((suffix for suffix in SUFFIXES if base.endswith(suffix)), key=len, default="")


def _folder_of_split(name: str, split: str) -> str | None:
    """The folder of `name`, a file of `split`; None for other files."""
    path = PurePosixPath(name)
    stem = path.name[: len(path.name) - len(_suffix(name))]
    if stem == split or re.fullmatch(re.escape(split) + r"-\d+-of-\d+", stem):
        return path.parent.as_posix()
    if path.parent.name == split:
        return path.parent.parent.as_posix()
    return None


def _refuse_missing_shards(files: Sequence[str], where: str) -> None:
    numbered = re.search(r"-of-(\d+)\.", files[0])
    if numbered and len(files) != int(numbered[1]):
        raise UserError(f"{where}: only {len(files)} of the {int(numbered[1])} files like {files[0]} are there.")


def _paths(path: Path, splits: Mapping[str, str | None]) -> dict[str, list[Path]]:
    if not path.exists():
        raise UserError(f"data.path: there is no file or folder {path}.")
    whole = _saved(path) or [path]  # one Dataset, saved without splits
    if path.is_dir() and whole == [path]:
        names = _names(path)
        return {
            role: [path / name for name in split_names(names, split, where=str(path))]
            for role, split in splits.items()
            if split
        }
    if splits.get("test"):
        raise UserError(
            f'{path} has no splits and cannot hold the test split "{splits["test"]}": give a folder with a file per split. '
            "A file of your own needs data=local data.path=… data.text=COLUMN data.label=COLUMN, which takes the test rows out of it."
        )
    return {"train": whole}


def _names(folder: Path) -> list[str]:
    """Files below `folder`, as relative names; of a `save_to_disk` folder only the arrow files with its rows."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and len(p.relative_to(folder).parts) <= DEEPEST]
    saved = {p.parent: _saved(p.parent) for p in files if p.name == STATE}
    caches = {p for p in files if p.suffix == ".arrow" and p not in saved.get(p.parent, [p])}
    return [p.relative_to(folder).as_posix() for p in files if p not in caches and not p.name.startswith(".")]


def _saved(folder: Path) -> list[Path]:
    """The files with the rows of a `save_to_disk` folder, by its state.json; [] for any other folder.

    Raises:
        UserError: a state.json that cannot be read, that names a file elsewhere or a missing one, or rows behind indices.
    """
    if not (folder / STATE).is_file() or not any(folder.glob("*.arrow")):
        return []
    state = read_json(folder / STATE)
    try:
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (TypeError, KeyError) as error:
        raise UserError(f"{folder / STATE} is damaged: it does not name the files with the rows.") from error
    if state.get("_indices_data_files"):  # of datasets 1; later versions ignore it and give all rows
        raise UserError(
            f"{folder} was saved by an old version of the datasets library, as indices into other rows: load it with that "
            "version, and save its flatten_indices()."
        )
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise UserError(f"{folder / STATE} names the file {name}, which is not in the folder.")
    return [folder / name for name in sorted(names)]


def _may_hold_rows(name: str) -> bool:
    return name not in NOTES and not fnmatch.fnmatch(name, CACHES)


def _typed(files: Sequence[Path], data_format: str | None) -> SplitFiles:
    chosen_format = data_format or format_of(files[0].name)
    if chosen_format is None:
        raise UserError(
            f"{files[0]}: unknown suffix. Rows are read from {', '.join(SUFFIXES)}; "
            f"for another suffix say what it is with data.format= ({', '.join(FORMATS)})."
        )
    return SplitFiles(chosen_format, tuple(files))
