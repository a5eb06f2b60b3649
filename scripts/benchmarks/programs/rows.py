"""Rows artifacts of problems, for the programs that run stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_problems(folder: Path, problems: Sequence[dict[str, Any]]) -> Path:
    """A rows artifact of problems {id, prompt}."""
    from w2s_cli.data.artifacts.rows import write_rows

    folder.mkdir()
    ids, prompts = [row["id"] for row in problems], [row["prompt"] for row in problems]
    write_rows(folder, ids, ids, prompts, None, problems=[{"prompt": prompt} for prompt in prompts])
    return folder
