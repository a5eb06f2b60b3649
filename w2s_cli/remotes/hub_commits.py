"""Files of a stage into a repository of the hub, by one commit.

* The file system of the hub commits every file, and the hub limits the commits of an hour. Here a stage is one commit, so it is complete
  there, or absent.
* Large files go up before the commit, one at a time. The hub keeps them by their content, so a push that was killed sends none of them
  twice.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

from w2s_cli.remotes.fetch import Watch
from w2s_cli.remotes.listing import Entry
from w2s_cli.store.faults import fault


def commit(there: Entry, contents: Mapping[str, Path | bytes], watch: Watch) -> Entry:
    """Write files of a stage's folder (name in it → path or content); returns the stage as the hub has it then.

    Args:
        watch: is told the bytes of each path that was sent; may raise, to stop.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    fs = there.remote.fs
    place = fs.resolve_path(there.folder)
    api = HfApi(endpoint=fs.endpoint, token=fs.token)
    additions = [CommitOperationAdd(f"{place.path_in_repo}/{name}", content) for name, content in contents.items()]
    to = {"repo_id": place.repo_id, "repo_type": place.repo_type, "revision": place.revision}
    for addition, content in zip(additions, contents.values(), strict=True):
        if isinstance(content, Path):
            watch(0)
            api.preupload_lfs_files(additions=[addition], **to)
            watch(content.stat().st_size)
            fault("send.file")
    fault("send.before-record")
    message = f"w2s push: {there.folder.rpartition('/')[2]}"
    with warnings.catch_warnings():
        # the client takes a table in a repository of models for a mistake
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
        api.create_commit(operations=additions, commit_message=message, **to)
    fs.invalidate_cache(there.folder)
    entries = fs.find(there.folder, detail=True)
    files = {path.removeprefix(f"{there.folder}/"): facts for path, facts in entries.items()}
    return Entry(there.remote, there.key, there.folder, files)
