"""What one command leaves for people: outputs/runs/<date>/<time>-<slug>-<digest>/ with config, plan, results and links to its stages.

* The digest is of the stage keys: the same command run again finds its folder and refreshes it.
* Results are a copy of the evaluate stages' metrics with the names around them; the stages stay the truth.
"""

import contextlib
import hashlib
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from w2s_cli.config.schema import Config
from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.pipeline.states import Planned
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
    """One entry a table: every evaluate stage of every job, and every summary over seeds.

    `evaluates` is the name of the evaluate stage, `stage` is that too, or "summary"; `job` is the number of its document in config.yaml
    (of the first seed's for a summary). Rules and controls are named only where the method
    has a stage that follows them.
    """
    found = []
    for number, job in enumerate(graph.jobs):
        for name, key in job.names.items():
            if graph.stages[key].kind == "evaluate":
                found.append(_entry(store, key, name, job, [job.config["seed"]]) | {"job": number})
    for jobs, name, key in graph.summaries:
        summary = {"stage": "summary", "job": graph.jobs.index(jobs[0])}
        found.append(_entry(store, key, name, jobs[0], [job.config["seed"] for job in jobs]) | summary)
    return [entry for entry in found if entry["metrics"]]


def _entry(store: Store, key: str, name: str, job: Job, seeds: list[int]) -> dict[str, Any]:
    folder = store.folder(key)
    done = folder is not None and (folder / "record.json").exists()
    manifest = (read_json(folder / "result" / "manifest.json") or {}) if folder and done else {}
    config = job.config
    return {
        "stage": name,
        "evaluates": name,
        "key": key,
        "weak": config["weak"]["name"] if config["labels"]["source"] == "weak" else config["labels"]["path"],
        "strong": config["strong"]["name"],
        "data": config["data"]["name"],
        "method": config["method"]["name"],
        "loss": shown(config["loss"]),
        "train": config["train"]["mode"],
        **settings(config),
        "seeds": seeds,
        "metrics": manifest.get("metrics", {}),
    }


def shown(choice: dict[str, Any]) -> str:
    """What tables call a loss or rule: files that set arguments of one function have labels of their own."""
    return str(choice["label"] or choice["name"])


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """What sets a job apart from others of its method; null where the method has no use for it."""
    stages = config["method"]["stages"].values()
    rules = [fields["rule"] for fields in stages if "rule" in fields]  # some methods have a rule of their own
    loops = {fields.get("foreach") for fields in stages}
    members = config["ensemble"]
    ensemble = members if isinstance(members, int) else [model["name"] for model in members]
    return {
        "combine": shown(config["combine"]) if config["combine"] in rules else None,
        "select": shown(config["select"]) if config["select"] in rules else None,
        "ladder": [model["name"] for model in config["ladder"]] if "ladder" in loops else None,
        "ensemble": ensemble if "ensemble" in loops else None,
        "rounds": config["rounds"] if "rounds" in loops else None,
        "control": config["control"]["name"] if config["control"]["name"] != "none" else None,
        "stopping": config["stopping"]["name"] if config["stopping"]["by"] else None,
        "head": "token" if config["train"]["head"]["tokens"] else None,
        "labels": config["train"]["labels"],
    }


def setting(entry: dict[str, Any]) -> str:
    """'ensemble 4 dawid_skene, xent, control random_labels': method, its lists and rule, loss, and what is not the default.

    Rounds are named where they are not the configuration's default: 'co_supervised 3 rounds 4, xent'.
    """
    said = defaultdict(lambda: None, entry)  # a record of an older version says less
    ladder = ">".join(said["ladder"]) if said["ladder"] else None
    members = said["ensemble"] if isinstance(said["ensemble"], int | None) else "+".join(said["ensemble"])
    numbers = [str(value) for value in (ladder, members, said["combine"], said["select"]) if value is not None]
    if said["rounds"] not in (None, Config.rounds):
        numbers.append(f"rounds {said['rounds']}")
    words = [" ".join([str(said["method"]), *numbers]), str(said["loss"])]
    if said["train"] not in (None, "full"):
        words.append(said["train"])
    if said["labels"] not in (None, "soft"):
        words.append(f"{said['labels']} labels")
    if said["head"]:
        words.append("token head")
    words += [f"{name} {said[name]}" for name in ("control", "stopping") if said[name]]
    return ", ".join([*words, said["evaluates"]] if said["evaluates"] not in (None, "pgr", said["method"]) else words)


def wall_times(graph: Graph, store: Store) -> dict[str, list[float]]:
    """Stage name → seconds that the stages of this name took when they ran."""
    found: dict[str, list[float]] = {}
    for key, stage in graph.stages.items():
        folder = store.folder(key)
        record = read_json(folder / "record.json") if folder else None
        if record and "wall_s" in record:
            found.setdefault(stage.name, []).append(record["wall_s"])
    return found
