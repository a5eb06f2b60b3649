"""The columns that a recipe names, looked for in a local file while a run is planned, so that a misspelt one does not wait for a queue.

A file above `MOST` bytes is read by its stage only: a plan should take a second. Columns that a transform may add are not looked for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from w2s_cli.data.form import template_fields
from w2s_cli.data.sources import local_files

MOST = 10_000_000


def refuse_missing(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse a local file that cannot be read, or has not the columns of the recipe.

    Raises:
        UserError: as the rows stage would.
    """
    from w2s_cli.data.read import read

    for files in local_files(path, data["splits"], data["format"]).values():
        if sum(file.stat().st_size for file in files.files) <= MOST:
            rows = read(files)
            for column, option in _named(data):
                rows.need(column, option)


def _named(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(column, field with its name) of a recipe without a transform."""
    for option in ("text", "label", "id"):
        if data[option]:
            yield data[option], f"data.{option}"
    for option in ("template", "second"):
        for column in template_fields(data[option], f"data.{option}") if data[option] else ():
            yield column, f"data.{option}"
    for column in data["group"]:
        yield column, "data.group"
