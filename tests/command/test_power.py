"""`w2s power`: the figure, its noise and its costs from stored results, compared with NumPy; and its refusals."""

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.command.test_docs import command_lines
from tests.conftest import ROOT
from tests.stored_results import config_of, key_of, right, run_w2s, store_run
from w2s_cli.store.files import digest

Run = Callable[..., subprocess.CompletedProcess[str]]
LEVELS = {"xent": (0.6, 0.7, 0.8), "logconf": (0.6, 0.75, 0.8), "kl": (0.6, 0.65, 0.8)}
PAIR = {"data": "d", "weak": "w", "strong": "s"}
SECONDS = {"weak": 360.0, "student": 1080.0, "ceiling": 720.0}
ROWS = 400


def stored(outputs: Path, losses: tuple[str, ...], seeds: int, *, limit: int | None = ROWS) -> list[dict[str, object]]:
    """Results with records: each label stage of a role took SECONDS, and reads the test rows of a pool of 1,000."""
    jobs = [
        {**PAIR, "loss": loss, "seed": seed, "levels": LEVELS[loss], "words": [f"loss={loss}", f"seed={seed}"]}
        for loss in losses
        for seed in range(seeds)
    ]
    folder = store_run(outputs, jobs, name="120000-a", rows=ROWS)
    plan = json.loads((folder / "plan.json").read_text())
    rows = key_of("rows")
    write_stage(outputs, "rows", rows, {}, 1.0, metrics={"rows": ROWS, "pool_rows": 1000 if limit else ROWS})
    for stage in list(plan["stages"]):
        if stage["kind"] == "evaluate":
            stage["inputs"]["rows"] = rows
            write_stage(outputs, "evaluate", stage["key"], stage["inputs"], 0.0, folder=f"e-{stage['key']}")
            for role, seconds in SECONDS.items():
                write_stage(outputs, "label", stage["inputs"][role], {"rows": rows}, seconds)
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "config.yaml").write_text(_configs(jobs))
    return jobs


def _configs(jobs: list[dict[str, object]]) -> str:
    import yaml

    return yaml.safe_dump_all([config_of(job) for job in jobs], sort_keys=False)


def write_stage(
    outputs: Path,
    kind: str,
    key: str,
    inputs: dict[str, str],
    seconds: float,
    *,
    folder: str = "",
    metrics: dict[str, int] | None = None,
) -> None:
    """A finished stage's files, as far as costs read them."""
    place = outputs / "stages" / kind / (folder or f"s-{key}")
    (place / "result").mkdir(parents=True, exist_ok=True)
    gives = {"rows": "rows", "evaluate": "comparison"}.get(kind, "labels")
    job = {"format": 3, "kind": kind, "version": 1, "params": {}, "inputs": inputs, "key": key, "name": kind}
    (place / "stage.json").write_text(json.dumps(job | {"execution": {}}))
    record = {"format": 3, "run": "r", "gives": gives, "wall_s": seconds, "inputs": {}, "result": "0" * 12}
    record |= {"started": 1.0, "ended": 1.0 + seconds, "provenance": {"device": "NVIDIA H200"}, "execution": {}}
    manifest = place / "result" / "manifest.json"
    present = json.loads(manifest.read_text()) if manifest.exists() else {"files": {}, "metrics": metrics or {}}
    manifest.write_text(json.dumps(present))
    record["result"] = digest(manifest)
    (place / "record.json").write_text(json.dumps(record))


def cells(outputs: Path, loss: str, seeds: int, *roles: str) -> np.ndarray:
    """[seeds, rows] of a role's right answers, or of a difference of two roles."""
    tables = []
    for seed in range(seeds):
        keys = [
            key_of("weak", "d", "w", seed),
            key_of("student", "d", "w", "s", loss, seed, None),
            key_of("ceiling", "d", "s", seed),
        ]
        one = [right(outputs, key_of(*keys), role) for role in roles]
        tables.append(one[0] - one[1] if len(one) > 1 else one[0])
    return np.stack(tables)


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stored(tmp_path / "outputs", ("xent", "logconf"), 5)
    return tmp_path


def test_two_settings_are_compared_row_by_row_and_seed_by_seed(folder: Path) -> None:
    shown = run_w2s(folder, "power").stdout
    difference = cells(folder / "outputs", "logconf", 5, "student") - cells(folder / "outputs", "xent", 5, "student")
    [value] = re.findall(r"minus loss=xent: ([+-][\d.]+) points", shown)
    assert float(value) == pytest.approx(100 * difference.mean(), abs=0.006)
    rest = difference - difference.mean(0) - difference.mean(1, keepdims=True) + difference.mean()
    of_rest = math.sqrt((rest**2).sum() / (4 * (ROWS - 1)))
    [deviation] = re.findall(r"single answers \(a seed on a row\) +([\d.]+)", shown)
    assert float(deviation) == pytest.approx(100 * of_rest, abs=0.006)


@pytest.mark.slow
def test_the_hours_are_those_of_the_stages_that_a_choice_adds(folder: Path) -> None:
    shown = run_w2s(folder, "power", "loss=xent").stdout
    hours = {
        words.strip(): float(found) for words, found in re.findall(r"^(.+? more .+?)  +±\S+ +\S+ +(\S+)", shown, re.M)
    }
    assert hours["3 more seeds"] == pytest.approx(3 * sum(SECONDS.values()) / 3600)
    assert hours["600 more test rows"] == pytest.approx(5 * sum(SECONDS.values()) * (1000 / ROWS) / 3600, rel=0.01)
    both = run_w2s(folder, "power").stdout  # weak supervisor and ceiling serve both settings
    [of_both] = re.findall(r"^3 more seeds +±\S+ +\S+ +(\S+)", both, re.M)
    assert float(of_both) == pytest.approx(3 * (sum(SECONDS.values()) + SECONDS["student"]) / 3600, rel=0.01)
    assert "as recorded on NVIDIA H200" in shown
    assert "up to 1,000 test rows" in shown


def test_choices_stand_in_the_order_of_what_an_hour_narrows(folder: Path) -> None:
    shown = run_w2s(folder, "power", "loss=xent", "--figure", "ceiling-weak").stdout
    rows = re.findall(r"^(.+? more .+?)  +±(\S+) +(\S+) +(\S+) +(\S+)$", shown, re.M)
    [now] = re.findall(r"^now: .*±(\S+)", shown, re.M)
    per_hour = [float(row[4]) for row in rows]
    assert len(rows) > 5
    assert per_hour == sorted(per_hour, reverse=True)
    for _, half, narrower, hours, gain in rows:
        assert float(narrower) == pytest.approx(float(now) - float(half), abs=0.011)
        assert float(gain) == pytest.approx(float(narrower) / float(hours), rel=0.05, abs=0.02)
    assert f"Most per hour: {rows[0][0]}: ±{now} → ±{rows[0][1]} points" in shown
    seeds = [float(row[1]) for row in sorted((r for r in rows if "seed" in r[0]), key=lambda r: int(r[0].split()[0]))]
    assert seeds == sorted(seeds, reverse=True)


def test_the_printed_command_adds_what_helps_most(folder: Path) -> None:
    shown = run_w2s(folder, "power", "loss=xent", "--seeds", "4").stdout
    assert len(re.findall(r"^\d+ more seeds", shown, re.M)) == 1
    assert shown.splitlines()[-1].startswith("w2s train loss=xent ")
    assert re.search(r"seeds=9$|data\.limits\.test=\d+ seeds=5$", shown.splitlines()[-1])


def test_pgr_is_the_ratio_of_the_means(folder: Path) -> None:
    shown = run_w2s(folder, "power", "loss=logconf", "--figure", "pgr").stdout
    gained = cells(folder / "outputs", "logconf", 5, "student", "weak").mean()
    gap = cells(folder / "outputs", "logconf", 5, "ceiling", "weak").mean()
    [value] = re.findall(r"^pgr of w → s on d: ([+-][\d.]+),", shown, re.M)
    assert float(value) == pytest.approx(gained / gap, abs=0.006)


@pytest.mark.slow
def test_the_commands_of_the_page_run(folder: Path) -> None:
    lines = [words for name, *words in command_lines(ROOT / "docs" / "results.md") if name == "power"]
    assert len(lines) == 3
    for words in lines:
        assert "Most per hour:" in run_w2s(folder, "power", *words).stdout


def test_a_data_set_without_further_test_rows_has_no_such_choice(tmp_path: Path) -> None:
    stored(tmp_path / "outputs", ("xent",), 3, limit=None)
    shown = run_w2s(tmp_path, "power").stdout
    assert "more test rows" not in shown
    assert "no test rows beyond these 400" in shown
    assert "Caution: 3 seeds give a rough estimate" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--between", "loss=xent", "loss=kl2"], 'loss=kl2: no setting has this value. Did you mean "kl"?'),
        ([], "3 settings. Choose one by FIELD=VALUE, or two by --between A B:\n  loss=xent\n  loss=logconf\n  loss=kl"),
        (["--between", "loss=xent", "strong=s"], "strong=s: 3 settings."),
        (["los=xent"], 'no result has a field "los"'),
        (["loss=xent", "--seeds", "0"], "--seeds: a number of further seeds, 1 or more"),
        (["loss=xent", "--figure", "studnt"], "invalid choice: 'studnt'"),
        (["loss=xent", "--rows", "601"], "up to 1,000 test rows, and 400 are used already"),
        (["nothing"], 'no run is called "nothing"'),
    ],
)
def test_what_names_no_figure_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    stored(tmp_path / "outputs", ("xent", "logconf", "kl"), 2)
    assert message in run_w2s(tmp_path, "power", *words, code=2).stderr


def test_one_seed_has_no_noise_of_seeds(tmp_path: Path) -> None:
    stored(tmp_path / "outputs", ("xent",), 1)
    done = run_w2s(tmp_path, "power", code=2)
    assert "the noise of seeds needs two of them, and there is 1: run the same command with seeds=3" in done.stderr


def test_a_gap_that_may_be_noise_has_no_pgr_to_plan(tmp_path: Path) -> None:
    jobs = [{**PAIR, "loss": "xent", "seed": seed, "levels": (0.7, 0.7, 0.7)} for seed in range(3)]
    store_run(tmp_path / "outputs", jobs, name="120000-a", rows=200)
    assert "no gap" in run_w2s(tmp_path, "power", "--figure", "pgr", code=2).stderr


@pytest.mark.slow
def test_a_real_run_is_looked_at_with_its_own_records(tmp_path: Path, tiny: list[str]) -> None:
    run_w2s(tmp_path, "train", *tiny, "seeds=2", "train.epochs=1")
    shown = run_w2s(tmp_path, "power").stdout
    assert "as recorded on cpu" in shown
    assert "The data set has no test rows beyond these" in shown
    [unit] = re.findall(r"narrower +(minute|second)s +narrower per", shown)
    seconds = [
        number(cost) * (60 if unit == "minute" else 1) for cost in re.findall(r"more seeds? +±\S+ +\S+ +(\S+)", shown)
    ]
    records = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/stages/*/*/record.json")]
    whole = sum(record["wall_s"] for record in records)
    assert 0 < min(seconds) < whole
    assert shown.splitlines()[-1].count("outputs=") <= 1
