"""The folder of a run for people: outputs/runs/<date>/<time>-<slug>-<digest>/ with config, plan, results and links to its stages.

* The digest is of the stage keys, so the same command uses its folder again and refreshes it.
* Results are a copy of the evaluate stages' metrics with their names, and with some figures of the trainings behind them (`trainings`); the
  stages stay the source.
* A result records the words of the command line of its job, the family that it shares with the other seeds of its setting, and the
  environments of the stages behind it, so no reader has to reconstruct them.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from w2s_cli.paths import BUNDLED
from w2s_cli.pipeline.builder import supervisor
from w2s_cli.pipeline.families import result_family, stage_families
from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.pipeline.states import Planned
from w2s_cli.results.environment import of_stages
from w2s_cli.results.job_settings import loss_of, mode_of, settings
from w2s_cli.results.reader import FORMAT, SUMMARY, Entry, Run
from w2s_cli.results.runs import CONFIG, PLAN, RESULTS
from w2s_cli.results.shapes import Metrics
from w2s_cli.results.stages import read_stage
from w2s_cli.results.trainings import with_trainings
from w2s_cli.store.faults import fault
from w2s_cli.store.files import safe_name, write_bytes, write_sealed
from w2s_cli.store.holds import hold
from w2s_cli.store.places import RUNS, StoreError
from w2s_cli.store.shapes import fits, read_manifest, read_record
from w2s_cli.store.store import Store, unwritable

PATHS = ("path", "test_path")  # last parts of the fields with a user's file or folder


@contextmanager
def held_run(
    graph: Graph, store: Store, command: str, targets: Sequence[str], identity: Sequence[str] = ()
) -> Iterator[Path]:
    """The folder of this command, made if it is missing. Within the block no other command removes a stage that the targets need.

    Args:
        identity: what names the sweep of a search, whose graph grows; () for a command whose stages are all planned.

    Raises:
        StoreError: the folder cannot be written, or does not lie in the store.
    """
    try:
        folder = store.own(run_folder(graph, store, command, identity))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(unwritable(store.root, error)) from error
    try:
        with hold(folder, store.root, graph.upstream_closure(targets)):
            yield folder
    finally:
        with contextlib.suppress(OSError):  # of a command that was refused: without files
            folder.rmdir()


def run_folder(graph: Graph, store: Store, command: str, identity: Sequence[str] = ()) -> Path:
    """The folder of a command, which may not exist; the arguments are those of `held_run`."""
    digest = hashlib.sha256("".join([command, *(identity or sorted(graph.stages))]).encode()).hexdigest()[:8]
    parent = store.root / RUNS[bool(identity) or len(graph.jobs) > 1]
    existing = sorted(parent.glob(f"*/*-{digest}"))
    if existing:
        return existing[-1]
    config = graph.jobs[0].config
    slug = f"{supervisor(config)}-{config['strong']['name']}-{config['data']['name']}"
    if command == "pretrain":
        slug = str(config["pretrain"]["name"])
    return parent / time.strftime("%Y-%m-%d") / f"{time.strftime('%H%M%S')}-{safe_name(slug)}-{digest}"


def write_run(folder: Path, graph: Graph, plans: dict[str, Planned]) -> None:
    """Write config.yaml, and plan.json with its digest, before any stage runs."""
    import yaml

    fault("run.plan")
    configs = [job.config for job in graph.jobs]
    # the dumper in C, where libyaml is: a sweep has thousands of configurations
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    content = yaml.dump_all(configs, Dumper=dumper, sort_keys=False, allow_unicode=True).encode()
    write_bytes(folder / CONFIG, content)
    plan = [
        {
            "name": stage.name,
            "slug": stage.slug,
            "kind": stage.kind,
            "gives": stage.of.traits.gives,
            "key": key,
            "inputs": stage.inputs,
            "state": plans[key].word,
        }
        for key, stage in graph.stages.items()
        if key in plans
    ]
    write_sealed(folder / PLAN, {"format": FORMAT, "stages": plan, "config": hashlib.sha256(content).hexdigest()})


def link_stages(folder: Path, graph: Graph, store: Store) -> None:
    """Create relative links to the stage folders, by name."""
    links = store.own(folder / "stages")
    links.mkdir(exist_ok=True)
    for stage in graph.stages.values():
        target = store.folder(stage.key)
        name = links / f"{safe_name(stage.name)}-{stage.key}"
        if target is not None and not name.is_symlink():
            with contextlib.suppress(FileExistsError):
                name.symlink_to(os.path.relpath(target, links), target_is_directory=True)


def write_results(folder: Path, graph: Graph, store: Store) -> list[Entry]:
    """Write results.json of a run's folder; returns the results."""
    fault("run.results")
    write_sealed(folder / RESULTS, {"format": FORMAT, "entries": entries(graph, store)})
    return Run(folder, store).entries


def entries(graph: Graph, store: Store) -> list[dict[str, Any]]:
    """The results of a graph for results.json: every finished evaluate stage of every job, and every summary over seeds.

    `evaluates` is the name of the evaluate stage; `stage` is the same name, or "summary". `job` is the number of the job's document in
    config.yaml (for a summary: of its first seed). Rules and controls are named only if the method has a stage with them.
    """
    families = stage_families(graph)
    first = {id(job): jobs[0] for jobs, _, _ in graph.summaries for job in jobs}  # seeds may have files of their own
    results = []
    for number, job in enumerate(graph.jobs):
        for name, key in job.names.items():
            if graph.stages[key].of.traits.gives == "comparison":
                family = result_family(graph, first.get(id(job), job), name, families)
                entry = _entry(graph, store, key, name, [job])
                results.append(entry | {"job": number, "family": family})
    for jobs, name, key in graph.summaries:
        about = {
            "stage": SUMMARY,
            "job": graph.jobs.index(jobs[0]),
            "family": result_family(graph, jobs[0], name, families),
        }
        results.append(_entry(graph, store, key, name, jobs) | about)
    stages = {key: read_stage(store, key) for key in graph.stages}
    for entry in results:
        entry["environment"] = of_stages(stages[key] for key in graph.upstream_closure([entry["key"]]))
    return [entry for entry in results if entry["metrics"]]


def _entry(graph: Graph, store: Store, key: str, name: str, jobs: list[Job]) -> dict[str, Any]:
    """The result of the stage `key`: the comparison `name` of one job, or the summary over those of several."""
    folder = store.folder(key)
    finished = folder is not None and (folder / "record.json").exists()
    manifest = (read_manifest(folder) or {}) if folder and finished else {}
    metrics = manifest.get("metrics", {})
    config = jobs[0].config
    return {
        "stage": name,
        "evaluates": name,
        "key": key,
        "weak": config["weak"]["name"]
        if config["labels"]["source"] == "weak"
        else str(jobs[0].setting["labels"]["path"]),
        "strong": config["strong"]["name"],
        "data": config["data"]["name"],
        "method": config["method"]["name"],
        "loss": loss_of(config),
        "train": mode_of(config),
        **settings(config),
        "seeds": [job.config["seed"] for job in jobs],
        "words": [_anywhere(word) for word in jobs[0].words],
        "metrics": with_trainings(metrics, graph, store, [job.names[name] for job in jobs])
        if fits(metrics, Metrics)
        else metrics,
    }


def _anywhere(word: str) -> str:
    """A word whose value is a path of the working directory, with the whole path: `w2s table` prints it in any folder."""
    name, sign, value = word.partition("=")
    plain = value.strip("'\"")
    if name.rpartition(".")[2] not in PATHS or not sign or plain in ("", "null") or plain.startswith(BUNDLED):
        return word
    path = os.path.join(os.getcwd(), os.path.expanduser(plain))
    return f"{name}={path if value == plain else value.replace(plain, path)}"


def wall_times(graph: Graph, store: Store) -> dict[str, list[float]]:
    """Stage name → wall seconds of each finished stage of this name."""
    seconds: dict[str, list[float]] = {}
    for key, stage in graph.stages.items():
        folder = store.folder(key)
        record = read_record(folder) if folder else None
        if record and "wall_s" in record:
            seconds.setdefault(stage.name, []).append(record["wall_s"])
    return seconds
