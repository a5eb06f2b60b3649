"""The columns that a recipe names, looked for in a local file while a run is planned, so that a misspelt one does not wait for a queue.

A file above `MOST` bytes is read by its stage only: a plan should take a second. Columns that a transform may add are not looked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.data.form import needed, problem_parts
from w2s_cli.data.sources import local_files

MOST = 10_000_000


def named(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(column, option with its name) of a recipe without a transform."""
    own_id = [(data["id"], "data.id")] if data["id"] else []
    return [
        *needed(data, data["second"], problem_parts(data)),
        *own_id,
        *((column, "data.group") for column in data["group"]),
    ]


def refuse_missing(path: Path, data: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> None:
    """Refuse a local file or folder that cannot be read, or has not the `columns`.

    Raises:
        UserError: as the rows stage would.
    """
    from w2s_cli.data.read import read

    for files in local_files(path, data["splits"], data["format"]).values():
        if sum(file.stat().st_size for file in files.files) <= MOST:
            rows = read(files)
            for column, option in columns:
                rows.need(column, option)
