"""Curves and calibration: medians over the seeds of one setting only, lines that can be read, the same ranges in all panels."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import same_color

from tests.stored_results import key_of, store_run
from w2s_cli.results.drawing.groups import grouped
from w2s_cli.results.drawing.style import PALETTE
from w2s_cli.results.figures import draw_kind, settings
from w2s_cli.results.figures.curves import FEW, columns_of, smoothed
from w2s_cli.results.reader import Run
from w2s_cli.store.store import Store

SEEDS, STEPS = range(3), 40
OFFSET = {"xent": 0.0, "logconf": 5.0}  # losses of two kinds, far from each other


def loss_at(loss: str, seed: int, step: int) -> float:
    return OFFSET[loss] + 1 / (1 + step) + 0.3 * (-1) ** step + 0.01 * seed


def stage(
    outputs: Path, name: str, params: dict[str, Any], inputs: dict[str, str], values: list[float]
) -> dict[str, Any]:
    """A finished training with a curve; its line of plan.json."""
    key = key_of(name, json.dumps(params), json.dumps(inputs))
    folder = outputs / "stages" / "finetune" / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step, "loss": value}) for step, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    line = {"name": name, "kind": "finetune", "key": key, "inputs": inputs}
    (folder / "stage.json").write_text(json.dumps({**line, "params": params}))
    return line


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A sweep of two losses and three seeds: a weak model a seed, a student a loss and seed."""
    outputs = tmp_path / "outputs"
    jobs = [
        {"data": "sciq", "weak": "gpt2", "strong": "qwen", "loss": loss, "seed": seed, "levels": (0.6, 0.7, 0.9)}
        for loss in OFFSET
        for seed in SEEDS
    ]
    folder = store_run(outputs, jobs, name="100000-a-11111111")
    plan = json.loads((folder / "plan.json").read_text())
    evaluations = [line for line in plan["stages"] if line["kind"] == "evaluate"]
    for job, evaluation in zip(jobs, evaluations, strict=True):
        loss, seed = str(job["loss"]), int(str(job["seed"]))
        weak = stage(outputs, "weak", {"seed": seed, "lr": 1e-3}, {}, [0.5] * STEPS)
        values = [loss_at(loss, seed, step) for step in range(STEPS)]
        params = {"seed": seed, "loss": {"name": loss}}
        student = stage(outputs, "student", params, {"labels": weak["key"]}, values)
        evaluation["inputs"] = {"student": student["key"], "weak": weak["key"]}
        plan["stages"] += [line for line in (weak, student) if line not in plan["stages"]]
    (folder / "plan.json").write_text(json.dumps(plan))
    return Run(folder, Store(outputs))


def test_stages_that_differ_in_more_than_their_seeds_are_groups_with_names(run: Run) -> None:
    columns = columns_of(run)
    assert {name: [(g.name, len(g.curves)) for g in groups] for name, groups in columns.items()} == {
        "weak": [("", 3)],
        "student": [("xent", 3), ("logconf", 3)],
    }


def test_a_median_is_over_the_seeds_of_one_loss(run: Run) -> None:
    with settings():
        figure = draw_kind("curves", run)
    student = figure.axes[1]
    thick = [line for line in student.lines if line.get_linewidth() > 1.5]
    assert len(thick) == 2
    for place, (line, loss) in enumerate(zip(thick, OFFSET, strict=True)):
        means = [smoothed([(s, loss_at(loss, seed, s)) for s in range(STEPS)]) for seed in SEEDS]
        expected = [statistics.median(mean[step][1] for mean in means) for step in range(STEPS)]
        assert list(line.get_ydata()) == pytest.approx(expected)
        assert same_color(line.get_color(), PALETTE[place])
        assert max(line.get_ydata()) - min(line.get_ydata()) < 2  # the median over both losses would lie between them
    assert [text.get_text() for text in student.get_legend().get_texts()] == list(OFFSET)
    assert student.get_legend().get_title().get_text() == "student (6 runs)"


def test_lines_are_running_means_over_faint_points(run: Run) -> None:
    with settings():
        figure = draw_kind("curves", run)
    points = [line for line in figure.axes[1].lines if line.get_linestyle() == "None"]
    assert len(points) == 6
    assert all(line.get_alpha() < 0.3 for line in points)
    noisy = [(float(step), (-1.0) ** step) for step in range(STEPS)]
    mean = smoothed(noisy)
    assert [step for step, _ in mean] == [step for step, _ in noisy]
    assert max(abs(value) for _, value in mean[2:-2]) < 0.4
    level = [(float(step), 2.0) for step in range(STEPS)]
    assert smoothed(level) == level
    assert abs(mean[0][1]) < 1  # the ends are means too
    few = noisy[: FEW - 1]
    assert smoothed(few) is few


def test_groups_of_a_run_without_results_are_numbered(run: Run) -> None:
    (run.folder / "results.json").unlink()
    unfinished = Run(run.folder, run.store)
    students = [one for one in unfinished.stages if one.name == "student"]
    assert [(name, len(group)) for name, group in grouped(unfinished, students)] == [("setting 1", 3), ("setting 2", 3)]


def test_panels_of_calibration_have_the_same_ranges(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    jobs = [
        {"data": data, "weak": "gpt2", "strong": "qwen", "loss": "xent", "seed": 0, "levels": levels}
        for data, levels in (("a", (0.9, 0.95, 0.98)), ("b", (0.2, 0.5, 0.6)))
    ]
    folder = store_run(outputs, jobs, name="100000-a-11111111")
    for path in outputs.glob("stages/evaluate/*"):
        (path / "record.json").write_text("{}")
    with settings():
        figure = draw_kind("calibration", Run(folder, Store(outputs)))
    uppers, lowers = figure.axes[::2], figure.axes[1::2]
    assert len(uppers) == len(lowers) == 2
    for group in (uppers, lowers):
        assert len({axes.get_ylim() for axes in group}) == 1
        assert len({axes.get_xlim() for axes in group}) == 1
    points = [offset for axes in uppers for mark in axes.collections for offset in mark.get_offsets().tolist()]
    low, high = uppers[0].get_ylim()
    assert all(low <= y <= high for _, y in points)
    tops = [max(patch.get_data().values) for axes in lowers for patch in axes.patches]
    assert lowers[0].get_ylim()[1] >= max(tops)


def test_bars_of_data_sets_begin_at_their_own_largest_class_or_at_0(tmp_path: Path) -> None:
    for number, (levels, label) in enumerate((((0.7, 0.8, 0.9), "the largest class"), ((0.4, 0.8, 0.9), "0")), start=1):
        outputs = tmp_path / f"outputs{number}"
        jobs = [
            {"data": data, "weak": "gpt2", "strong": "qwen", "loss": "xent", "seed": 0, "levels": levels}
            for data in ("a", "b")
        ]
        run = Run(store_run(outputs, jobs, name="100000-a-11111111"), Store(outputs))
        with settings():
            figure = draw_kind("datasets", run)
        left = figure.axes[0]
        shares = [entry.metrics["majority"] for entry in run.entries]
        begins = [bar.get_x() for bars in left.containers for bar in getattr(bars, "patches", ())]
        assert begins == pytest.approx([share if label != "0" else 0.0 for _ in range(3) for share in shares])
        assert f"(bars from {label}" in left.get_xlabel().replace("\n", " ")
