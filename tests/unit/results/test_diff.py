"""`w2s diff A B`: configuration, data, code, stages, and results with a paired interval checked against NumPy."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import sentences, write_jsonl
from tests.stored_results import key_of, real_runs, right, run_w2s, store_run, tiny_words  # noqa: F401 - real_runs is a fixture
from w2s_cli.cli import dispatch
from w2s_cli.data.artifacts.predictions import read_predictions
from w2s_cli.statistics.contrast import Answered, contrast
from w2s_cli.statistics.figures import predicted

LEVELS = (0.6, 0.75, 0.9)


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder with three results: two losses on the same rows with the same seeds, and another data set."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    (outputs / "stages").mkdir(parents=True)
    base = {"data": "sciq", "weak": "gpt2", "strong": "qwen", "loss": "xent", "levels": LEVELS}
    store_run(outputs, [{**base, "seed": seed} for seed in range(3)], name="100000-a-11111111", rows=800)
    better = {**base, "loss": "logconf", "levels": (0.6, 0.85, 0.9)}
    store_run(outputs, [{**better, "seed": seed} for seed in range(3)], name="110000-b-22222222", rows=800)
    store_run(outputs, [{**base, "seed": 0, "data": "boolq"}], name="120000-c-33333333", rows=500)
    return outputs


def diff(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What `w2s diff … --json` prints."""
    code = dispatch(["diff", *words, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_results_differ_by_what_the_stored_predictions_say(outputs: Path, capsys: Any) -> None:
    found = diff(capsys, "100000-a", "110000-b")
    assert found["config"] == [["loss.name", "xent", "logconf"]]
    (summary,) = (one for one in found["results"] if len(one["a"]["seeds"]) == 3)
    folders = [outputs / "sweeps" / "2026-01-01" / name for name in ("100000-a-11111111", "110000-b-22222222")]
    plans = [json.loads((folder / "plan.json").read_text())["stages"] for folder in folders]
    keys = [[stage["key"] for stage in plan if stage["kind"] == "evaluate"] for plan in plans]
    cells = {
        (side, role): np.stack([right(outputs, key, role) for key in keys[side]])  # [seeds, rows]
        for side in (0, 1)
        for role in ("weak", "student", "ceiling")
    }
    change = cells[1, "student"] - cells[0, "student"]
    said = summary["difference"]
    assert said["student"]["difference"] == pytest.approx(change.mean(), abs=1e-9)
    assert said["weak"] == {
        "a": said["weak"]["a"],
        "b": said["weak"]["a"],
        "difference": 0.0,
        "interval": [0.0, 0.0],
    }  # one stage
    ratios = [
        (cells[s, "student"].mean() - cells[s, "weak"].mean()) / (cells[s, "ceiling"].mean() - cells[s, "weak"].mean())
        for s in (0, 1)
    ]
    assert said["pgr"]["difference"] == pytest.approx(ratios[1] - ratios[0], abs=1e-9)
    low, high = said["pgr"]["interval"]
    assert 0 < low < said["pgr"]["difference"] < high
    assert said["noise"] == "seeds and test rows"


def test_a_pgr_without_a_gap_has_the_word_of_the_tables(outputs: Path, capsys: Any) -> None:
    flat = {"data": "flat", "weak": "gpt2", "strong": "qwen", "loss": "xent", "seed": 0, "levels": (0.7, 0.7, 0.7)}
    store_run(outputs, [flat], name="130000-d-44444444")
    assert dispatch(["diff", "130000", "120000"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("PGR"))
    assert re.match(r"PGR +no gap +0\.\d\d +- +-", line)


def test_the_interval_of_one_seed_is_the_paired_bootstrap_over_rows(outputs: Path, capsys: Any) -> None:
    found = diff(capsys, "100000-a", "110000-b")
    one = next(result for result in found["results"] if result["a"]["seeds"] == [1])
    assert one["b"]["seeds"] == [1]
    change = right(outputs, one["b"]["key"], "student") - right(outputs, one["a"]["key"], "student")
    draw = np.random.default_rng(3)
    means = [change[draw.integers(0, len(change), len(change))].mean() for _ in range(4000)]
    assert one["difference"]["student"]["interval"] == pytest.approx(
        list(np.quantile(means, [0.025, 0.975])), abs=0.005
    )


def test_rows_are_joined_by_id_whatever_their_order(outputs: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (first, *_) = sorted((outputs / "stages" / "evaluate").iterdir())
    table = pq.read_table(first / "result" / "predictions.parquet")
    order = np.random.default_rng(0).permutation(len(table))
    (tmp_path / "shuffled").mkdir()
    pq.write_table(table.take(order), tmp_path / "shuffled" / "predictions.parquet")
    sides = []
    for folder in (first / "result", tmp_path / "shuffled"):
        ids, truth, by_role = read_predictions([folder])
        cells = {role: (predicted(own.p) == truth).astype(float) for role, own in by_role.items()}
        sides.append(Answered(dict(zip(ids, truth.tolist(), strict=True)), cells))
    found = contrast(*sides, same_seeds=True)
    assert found is not None
    assert found["student"]["difference"] == 0
    assert found["student"]["interval"] == [0.0, 0.0]


def test_other_test_rows_are_said_and_not_paired(outputs: Path, capsys: Any) -> None:
    found = diff(capsys, "100000-a", "120000-c")
    assert ["data.name", "sciq", "boolq"] in found["config"]
    assert all(one["difference"] is None and "different test rows" in one["note"] for one in found["results"])
    assert dispatch(["diff", "100000-a", "120000-c"]) == 0
    assert "different test rows" in capsys.readouterr().out


def test_predictions_that_are_gone_leave_the_figures(outputs: Path, capsys: Any) -> None:
    shutil.rmtree(outputs / "stages" / "evaluate")
    found = diff(capsys, "100000-a", "110000-b")
    assert all("no longer stored" in one["note"] for one in found["results"])
    assert all(one["a"]["student_accuracy"] for one in found["results"])


def test_a_run_does_not_differ_from_itself(real_runs: Path) -> None:  # noqa: F811
    (name,) = (path.name for path in (real_runs / "outputs" / "runs").glob("*/*") if "-local-" in path.name)
    out = run_w2s(
        real_runs, "diff", name, f"outputs/runs/{next((real_runs / 'outputs' / 'runs').iterdir()).name}/{name}"
    ).stdout
    for part in ("config: the same", "data: the same", "code: the same", "environment: the same"):
        assert part in out
    assert re.search(r"stages: \d+ shared, 0 only in A, 0 only in B, 0 changed", out)
    assert re.search(r"student .* 0\.000 +\[0\.000, 0\.000\]", out)


def test_two_losses_share_weak_and_ceiling_and_differ_in_the_student(real_runs: Path) -> None:  # noqa: F811
    (plan,) = (
        json.loads(path.read_text())["stages"] for path in (real_runs / "outputs" / "sweeps").glob("*/*/plan.json")
    )
    first, second = (stage["key"] for stage in plan if stage["kind"] == "evaluate")
    out = run_w2s(real_runs, "diff", first, second).stdout
    assert "config: only runs have one" in out
    assert re.search(
        r"loss logconf +- +[0-9a-f]{12}", out
    )  # the loss's code; xent has made the weak supervisor in both
    (student,) = (line for line in out.splitlines() if re.match(r"  student [0-9a-f]{12} → ", line))
    assert "loss.name xent → logconf" in student
    changed = {line.split()[0] for line in out.splitlines() if re.match(r"  \w+ [0-9a-f]{12} → ", line)}
    assert changed == {"pgr", "student", "student_test"}
    assert "data: the same" in out
    as_json = json.loads(run_w2s(real_runs, "diff", first, second, "--json").stdout)
    assert {one["name"] for one in as_json["stages"]["changed"]} == changed


def test_changed_rows_are_found_in_the_data(real_runs: Path, tmp_path: Path, tiny_models: dict[str, Path]) -> None:  # noqa: F811
    shutil.copytree(real_runs / "outputs", tmp_path / "outputs", symlinks=True)
    config = next((tmp_path / "outputs" / "runs").glob("*/*/config.yaml")).read_text()
    assert "path: animals.jsonl" in config
    write_jsonl(tmp_path / "animals.jsonl", sentences(260))
    before = {path.name for path in (tmp_path / "outputs" / "runs").glob("*/*")}
    run_w2s(tmp_path, "train", "seed=1", *tiny_words(*tiny_models.values()))
    (new,) = {path.name for path in (tmp_path / "outputs" / "runs").glob("*/*")} - before
    old = next(name for name in sorted(before))
    found = json.loads(run_w2s(tmp_path, "diff", old, new, "--json").stdout)
    said = {name: (a, b) for name, a, b in found["data"]}
    assert "local test source.sha256" in said
    assert said["local test rows"][0] != said["local test rows"][1]
    assert found["config"] == [] or all(not name.startswith("data.") for name, _, _ in found["config"])


def test_the_stages_of_two_methods_are_one_line(outputs: Path, capsys: Any) -> None:
    import yaml

    path = outputs / "sweeps" / "2026-01-01" / "110000-b-22222222" / "config.yaml"
    configs = list(yaml.safe_load_all(path.read_text()))
    for config in configs:
        stages = {f"member{number}": {"kind": "finetune", "role": "weak"} for number in range(30)}
        config["method"] = {"name": "ensemble", "stages": {**stages, "pgr": {"kind": "evaluate"}}}
    path.write_text(yaml.safe_dump_all(configs, sort_keys=False))
    assert dispatch(["diff", "100000-a", "110000-b"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +method\.name +naive +ensemble$", out, re.MULTILINE)
    (line,) = (line for line in out.splitlines() if "method.stages" in line)
    assert "(60 fields; --all)" in line
    assert "30 stages: member0, member1" in line
    assert dispatch(["diff", "100000-a", "110000-b", "--all"]) == 0
    assert len(re.findall(r"method\.stages\.member\d+\.kind", capsys.readouterr().out)) == 30
    assert len([1 for name, *_ in diff(capsys, "100000-a", "110000-b")["config"] if "method.stages" in name]) == 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing", "100000-a"], 'no run is called "nothing"'),
        (["100000-a", "2026-01"], "fits 3 runs: 2026-01-01/100000-a-11111111, "),
        (["100000-a", "2026"], "fits 3 runs: 2026-01-01/100000-a-11111111, "),
        (["100000-a", "fffffff"], 'no stage has a key or a folder that begins with "fffffff"'),
        (["100000-a"], "w2s diff needs B. See: w2s diff --help"),
    ],
)
def test_a_name_that_fits_nothing_or_too_much_is_one_message(
    outputs: Path, capsys: Any, words: list[str], said: str
) -> None:
    assert dispatch(["diff", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert key_of("a") != key_of("b")
