"""Data sets for tests: recipes of configs/data over local files, run through the rows stage."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from w2s_cli.config.schema import DataConfig
from w2s_cli.data.form import TRANSFORMS
from w2s_cli.data.recipes import check_recipe, rows_params
from w2s_cli.data.sources import fingerprint
from w2s_cli.paths import configs_folder, locate
from w2s_cli.plugins import find_code
from w2s_cli.stages.rows import run
from w2s_cli.store.context import Context

REAL = Path(__file__).parents[2] / "shared" / "data"
Result = tuple[list[dict[str, Any]], dict[str, Any]]


def recipe(name: str, **changes: Any) -> dict[str, Any]:
    """A data set of configs/data as the planner sees it."""
    written = yaml.safe_load((configs_folder() / "data" / f"{name}.yaml").read_text())
    return {**asdict(DataConfig()), **written, **changes}


def make(folder: Path, data: Mapping[str, Any], pool: str, seed: int = 0, **execution: Any) -> Result:
    """Run the stage on local data with the run's seed; (rows, metrics)."""
    check_recipe(data)
    path = locate(str(data["path"]))
    transform = find_code(TRANSFORMS, data["transform"]) if data["transform"] else None
    source = {"sha256": fingerprint(path, data["splits"])}
    params = rows_params(data, pool=pool, source=source, seed=seed, transform_file=transform)
    return run_stage(folder, params, {"data_path": str(path), **execution})


def run_stage(folder: Path, params: dict[str, Any], execution: dict[str, Any], *, cache: Path | None = None) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    ctx = Context(folder, folder, folder, execution, cache=cache)
    metrics = run(json.loads(json.dumps(params)), {}, ctx)
    return pq.read_table(folder / "rows.parquet").to_pylist(), metrics


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read_gz(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def numbered(count: int, **fields: Callable[[int], Any]) -> list[dict[str, Any]]:
    base: dict[str, Callable[[int], Any]] = {
        "id": lambda i: f"r{i}",
        "text": lambda i: f"text {i}",
        "label": lambda i: i % 2,
    }
    return [{name: make_value(i) for name, make_value in {**base, **fields}.items()} for i in range(count)]


def local(path: Path, **changes: Any) -> dict[str, Any]:
    return recipe("local", **{"path": str(path), "text": "text", "label": "label", **changes})


def real(name: str) -> Path:
    if not (REAL / name).is_dir():
        pytest.skip(f"real rows of {name} are not on this machine")
    return REAL / name
