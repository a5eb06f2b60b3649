"""What one command leaves for people: outputs/runs/<date>/<time>-<slug>-<digest>/ with config, plan, results and links to its stages.

* The digest is of the stage keys: the same command run again finds its folder and refreshes it.
* Results are a copy of the evaluate stages' metrics with the names around them; the stages stay the truth.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from w2s_cli.graph import Graph, Job
from w2s_cli.plan import Planned
from w2s_cli.store.files import read_json, safe_name, write_bytes, write_json
from w2s_cli.store.store import Store


def run_folder(graph: Graph, store: Store, command: str) -> Path:
    """The folder of this command; made if it has none yet."""
    digest = hashlib.sha256("".join([command, *sorted(graph.stages)]).encode()).hexdigest()[:8]
    place = store.root / ("sweeps" if len(graph.jobs) > 1 else "runs")
    known = sorted(place.glob(f"*/*-{digest}"))
    if known:
        return known[-1]
    config = graph.jobs[0].config
    weak = config["weak"]["name"] if config["labels"]["source"] == "weak" else "file"
    slug = f"{weak}-{config['strong']['name']}-{config['data']['name']}"
    if command == "pretrain":
        slug = str(config["pretrain"]["name"])
    folder = place / time.strftime("%Y-%m-%d") / f"{time.strftime('%H%M%S')}-{safe_name(slug)}-{digest}"
    folder.mkdir(parents=True)
    return folder


def write_run(folder: Path, graph: Graph, plans: dict[str, Planned], store: Store) -> None:
    """config.yaml, plan.json and the links, before anything runs."""
    import yaml

    configs = [job.config for job in graph.jobs]
    write_bytes(folder / "config.yaml", yaml.safe_dump_all(configs, sort_keys=False, allow_unicode=True).encode())
    plan = [
        {"name": stage.name, "kind": stage.kind, "key": key, "inputs": stage.inputs, "state": plans[key].word}
        for key, stage in graph.stages.items()
        if key in plans
    ]
    write_json(folder / "plan.json", plan)


def link_stages(folder: Path, graph: Graph, store: Store) -> None:
    """Relative links to the stage folders, by name."""
    links = folder / "stages"
    links.mkdir(exist_ok=True)
    for stage in graph.stages.values():
        found = store.folder(stage.key)
        name = links / f"{safe_name(stage.name)}-{stage.key}"
        if found is not None and not name.is_symlink():
            with contextlib.suppress(FileExistsError):
                name.symlink_to(os.path.relpath(found, links), target_is_directory=True)


def results(graph: Graph, store: Store) -> list[dict[str, Any]]:
    """One entry a table: every evaluate stage of every job, and every summary over seeds."""
    found = []
    for job in graph.jobs:
        for name, key in job.names.items():
            if graph.stages[key].kind == "evaluate":
                found.append(_entry(store, key, name, job, [job.config["seed"]]))
    for jobs, key in graph.summaries:
        found.append(_entry(store, key, "summary", jobs[0], [job.config["seed"] for job in jobs]))
    return [entry for entry in found if entry["metrics"]]


def _entry(store: Store, key: str, name: str, job: Job, seeds: list[int]) -> dict[str, Any]:
    folder = store.folder(key)
    done = folder is not None and (folder / "record.json").exists()
    manifest = (read_json(folder / "result" / "manifest.json") or {}) if folder and done else {}
    config = job.config
    return {
        "stage": name,
        "key": key,
        "weak": config["weak"]["name"] if config["labels"]["source"] == "weak" else config["labels"]["path"],
        "strong": config["strong"]["name"],
        "data": config["data"]["name"],
        "method": config["method"]["name"],
        "loss": config["loss"]["name"],
        "train": config["train"]["mode"],
        "seeds": seeds,
        "metrics": manifest.get("metrics", {}),
    }


def wall_times(graph: Graph, store: Store) -> dict[str, list[float]]:
    """Stage name → seconds that the stages of this name took when they ran."""
    found: dict[str, list[float]] = {}
    for key, stage in graph.stages.items():
        folder = store.folder(key)
        record = read_json(folder / "record.json") if folder else None
        if record and "wall_s" in record:
            found.setdefault(stage.name, []).append(record["wall_s"])
    return found
