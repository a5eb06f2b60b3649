"""Outputs folders for the tests of tables: real tiny runs made once, and stored results with predictions of chosen accuracy."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import environment, once, sentences, write_jsonl
from tests.inside import run_inside
from w2s_cli.data.artifacts import PREDICTIONS
from w2s_cli.data.artifacts.predictions import read_predictions, write_predictions
from w2s_cli.results.reader import FORMAT
from w2s_cli.statistics.report import Predictions, report
from w2s_cli.store.files import digest

DRAWS = 400


def run_w2s(folder: Path, *arguments: str, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
    """The command in `folder`."""
    done = run_inside(arguments, folder, environment(**extra))
    assert done.returncode == code, f"w2s {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """A folder with real runs of a tiny pipeline: a sweep of two losses with seed 0, and a run of one loss with seed 1."""

    def make(folder: Path) -> None:
        write_jsonl(folder / "animals.jsonl", sentences(240))
        words = tiny_words(tiny_models["weak"], tiny_models["strong"])
        run_w2s(folder, "train", "-m", "loss=xent,logconf", *words)
        run_w2s(folder, "train", "seed=1", *words)

    return once(tmp_path_factory, "real", make)


def tiny_words(weak: Path, strong: Path) -> list[str]:
    """Overrides of a run that takes seconds, on animals.jsonl."""
    return [
        *("weak=local", f"weak.path={weak}", "weak.lr=5e-3", "strong=local", f"strong.path={strong}", "strong.lr=5e-3"),
        *("data=local", "data.path=animals.jsonl", "data.text=text", "data.label=label", "data.id=id", "bootstrap=200"),
    ]


def key_of(*what: object) -> str:
    """12 digits, the same for the same words."""
    return hashlib.sha256(json.dumps([str(one) for one in what]).encode()).hexdigest()[:12]


def predictions(name: str, truth: np.ndarray, level: float) -> Predictions:
    """One role on one seed: right on a drawn share `level` of the rows, the same for the same name."""
    draw = np.random.default_rng(int(key_of(name), 16))
    right = draw.random(len(truth)) < level
    chosen = np.where(right, truth, 1 - truth)
    margin = draw.uniform(0.1, 3.0, len(truth)) * np.where(chosen == 1, 1, -1)
    p = 1 / (1 + np.exp(-margin))
    both = np.stack([1 - p, p], axis=1)  # [rows, 2]
    return Predictions(both[None], np.log(both)[None])


def store_run(
    outputs: Path,
    jobs: Sequence[dict[str, Any]],
    *,
    name: str,
    rows: int = 300,
    finished: Sequence[bool] | None = None,
) -> Path:
    """Write the folder of one run (a sweep if it has several jobs) and the evaluate stages behind it; returns the folder.

    Args:
        jobs: each with data, weak, strong, loss, seed, levels (accuracies of weak, student, ceiling), and optionally lr, fields
            (further fields of the entry) and words (of the command line).
        finished: which jobs have results; None: all.
    """
    folder = outputs / ("sweeps" if len(jobs) > 1 else "runs") / "2026-01-01" / name
    folder.mkdir(parents=True)
    entries, plan, families = [], [], {}
    for number, (job, done) in enumerate(zip(jobs, finished or [True] * len(jobs), strict=True)):
        if done:
            entry, stage = store_job(outputs, job, rows)
            entries.append(entry | {"job": number})
            plan.append(stage)
            families.setdefault(entry["family"], []).append(entries[-1])
    for family in families.values():
        if len(family) > 1:
            keys = [entry["key"] for entry in family]
            folders = [outputs / "stages" / "evaluate" / f"e-{key}" / "result" for key in keys]
            _, truth, by_role = read_predictions(folders)
            summary = {**family[0], "stage": "summary", "key": key_of(*keys), "seeds": [e["seeds"][0] for e in family]}
            summary["metrics"] = report(truth, by_role, draws=DRAWS, confidence=0.95)
            entries.append(summary)
            plan.append(
                {
                    "name": "summary",
                    "kind": "summary",
                    "gives": "comparison",
                    "key": summary["key"],
                    "inputs": {"runs": keys},
                }
            )
    (folder / "config.yaml").write_text(yaml.safe_dump_all([config_of(job) for job in jobs], sort_keys=False))
    (folder / "plan.json").write_text(json.dumps({"format": FORMAT, "stages": plan}))
    write_entries(folder, entries)
    return folder


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run's results.json, as they are written."""
    listed: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["entries"]
    return listed


def write_entries(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write a run's results.json."""
    (folder / "results.json").write_text(json.dumps({"format": FORMAT, "entries": list(entries)}))


def store_job(outputs: Path, job: dict[str, Any], rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One evaluate stage with its predictions; (entry of results.json, entry of plan.json)."""
    truth = np.random.default_rng(int(key_of(job["data"]), 16)).integers(0, 2, rows)
    names = {
        "weak": ("weak", job["data"], job["weak"], job["seed"]),
        "student": ("student", *(job[n] for n in ("data", "weak", "strong", "loss", "seed")), job.get("lr")),
        "ceiling": ("ceiling", job["data"], job["strong"], job["seed"]),
    }
    levels = dict(zip(names, job["levels"], strict=True))
    said = {role: predictions(" ".join(map(str, what)), truth, levels[role]) for role, what in names.items()}
    inputs = {role: key_of(*what) for role, what in names.items()}
    key = key_of(*inputs.values())
    result = outputs / "stages" / "evaluate" / f"e-{key}" / "result"
    result.mkdir(parents=True, exist_ok=True)
    write_predictions(result, [f"r{i}" for i in range(rows)], truth, said)
    metrics = report(truth, said, draws=DRAWS, confidence=0.95)
    table = result / PREDICTIONS
    files = {PREDICTIONS: {"size": table.stat().st_size, "sha256": digest(table)}}
    (result / "manifest.json").write_text(json.dumps({"files": files, "metrics": metrics}))
    entry = {name: job[name] for name in ("weak", "strong", "data", "loss")}
    entry |= {"stage": "pgr", "key": key, "method": "naive", "train": "full", **job.get("fields", {})}
    same = {name: value for name, value in job.items() if name not in ("seed", "levels", "words")}
    words = job.get("words", [f"strong.lr={job['lr']}"] if "lr" in job else [])
    entry |= {
        "seeds": [job["seed"]],
        "metrics": metrics,
        "words": words,
        "family": key_of(json.dumps(same, sort_keys=True)),
    }
    stage = {"name": "pgr", "kind": "evaluate", "gives": "comparison", "key": key, "inputs": inputs}
    (result.parent / "stage.json").write_text(json.dumps({**stage, "params": {"bootstrap": DRAWS, "confidence": 0.95}}))
    return entry, stage


def config_of(job: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the parts that tables read."""
    return {
        "weak": {"name": job["weak"], "id": job["weak"], "lr": 1e-5},
        "strong": {"name": job["strong"], "id": job["strong"], "lr": job.get("lr", 1e-5)},
        "data": {"name": job["data"], "seed": 0},
        "loss": {"name": job["loss"], "args": {}},
        "method": {"name": "naive", "stages": {"pgr": {"kind": "evaluate"}}},
        "train": {"mode": "full"},
        "labels": {"source": "weak", "path": None, "test_path": None},
        "launcher": {"jobs": 1},
        "seed": job["seed"],
        "seeds": None,
        "outputs": "outputs",
        "bootstrap": DRAWS,
        "confidence": 0.95,
    }


def right(outputs: Path, key: str, role: str) -> np.ndarray:
    """Right and wrong of a role in a stored table, read without the code under test: [rows]."""
    import pyarrow.parquet as pq

    (path,) = (outputs / "stages" / "evaluate").glob(f"*-{key}/result/predictions.parquet")
    table = pq.read_table(path).to_pydict()
    return np.array([float(np.argmax(p) == y) for p, y in zip(table[f"{role}_p"], table["label"], strict=True)])
