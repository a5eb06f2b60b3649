"""The files of a data set on the Hugging Face hub, at one commit.

* The files are fetched into the hub cache and read like local files. `datasets.load_dataset` is not used: offline it takes the commit
  that it prepared last, it needs a second copy of the data, and its import costs a second.
* No loading scripts run. A data set with such a script is read from the hub's own conversion (revision: refs/convert/parquet).
* With a network the hub gives the commit's list of files; without one, the cached files of that commit are the list.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.data.sources import SplitFiles, format_of, split_names
from w2s_cli.errors import UserError
from w2s_cli.hub import ANSWER_SECONDS, refusal, trouble


def hub_files(
    source: Mapping[str, Any], splits: Mapping[str, str | None], *, offline: bool = False
) -> dict[str, SplitFiles]:
    """Role (train, test) → files in the hub cache, downloaded if they are missing.

    Args:
        source: {hub: repository id, config: name or null, revision: commit}.
        splits: role → split name, file name, pattern, or null.
        offline: use the cache only.

    Raises:
        UserError: not in the cache, and the hub refuses access or is out of reach; or a split without files.
    """
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    repo, commit = source["hub"], source["revision"]
    where = f"data set {repo} (commit {commit[:12]})"
    snapshot = Path(HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}" / "snapshots" / commit
    try:
        if HF_HUB_OFFLINE:
            raise OfflineModeIsEnabled
        if offline:
            raise LocalEntryNotFoundError("the network is not to be used")
        return _download(source, splits, where)
    except UserError:
        raise
    except Exception as error:  # the hub client raises what its transport raises
        advice = "Run once on a machine with network, copy its hub cache here (HF_HOME), or use a local copy: data.path=FOLDER."
        refused = refusal(error, "dataset", repo, commit, advice=advice)
        names = [p.relative_to(snapshot).as_posix() for p in sorted(snapshot.rglob("*")) if p.is_file()]
        if not names:
            raise refused from error
        cached = f"{where}, as far as it is cached ({trouble(error)}),"
    return _split(snapshot, names, source, splits, cached)


def _download(source: Mapping[str, Any], splits: Mapping[str, str | None], where: str) -> dict[str, SplitFiles]:
    """Fetch the files of the `splits` only."""
    from huggingface_hub import HfApi, hf_hub_download

    repo, commit = source["hub"], source["revision"]
    listing = HfApi().dataset_info(repo, revision=commit, timeout=ANSWER_SECONDS).siblings or []
    names = [sibling.rfilename for sibling in listing]
    downloaded = {}
    for role, split in splits.items():
        if split:
            wanted = split_names(names, split, where=where, config=source["config"])
            files = tuple(Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit)) for name in wanted)
            downloaded[role] = _typed(files, where)
    return downloaded


def _split(
    folder: Path, names: list[str], source: Mapping[str, Any], splits: Mapping[str, str | None], where: str
) -> dict[str, SplitFiles]:
    return {
        role: _typed(
            tuple(folder / name for name in split_names(names, split, where=where, config=source["config"])), where
        )
        for role, split in splits.items()
        if split
    }


def _typed(files: tuple[Path, ...], where: str) -> SplitFiles:
    data_format = format_of(files[0].name)
    if data_format is None:
        raise UserError(f"{where}: {os.path.basename(files[0])} is in no format that w2s reads.")
    return SplitFiles(data_format, files)
