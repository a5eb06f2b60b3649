"""combine on label files: joined by id, abstentions and scores from files, refused where they mean nothing, the same bytes."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.stage_files import context, write_labels, write_rows
from w2s_cli.data.artifacts.labels import read_labels
from w2s_cli.errors import UserError
from w2s_cli.stages import combine

ROWS = 400
IDS = [f"row-{i}" for i in range(ROWS)]
TRUTH = np.arange(ROWS) % 2


def said(accuracy: float, seed: int, truth: np.ndarray = TRUTH, classes: int = 2) -> np.ndarray:
    """Probabilities of a supervisor that is right with `accuracy`, [rows, classes]."""
    rng = np.random.default_rng(seed)
    wrong = (truth + rng.integers(1, classes, len(truth))) % classes
    votes = np.where(rng.random(len(truth)) < accuracy, truth, wrong)
    sure = rng.uniform(0.6, 0.95, len(truth))[:, None]
    p: np.ndarray = np.where(np.eye(classes)[votes] == 1, sure, (1 - sure) / (classes - 1))
    return p


def params(rule: str, *, abstain_below: float = 0.0, prior: list[float] | None = None, **args: Any) -> dict[str, Any]:
    return {"rule": {"name": rule, "args": args}, "abstain_below": abstain_below, "prior": prior}


def three(folder: Path, **options: Any) -> dict[str, Any]:
    labels = [write_labels(folder / f"weak-{i}", said(a, i), **options) for i, a in enumerate((0.9, 0.7, 0.65))]
    return {"rows": write_rows(folder / "rows", TRUTH), "labels": labels}


def table(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = pq.read_table(folder / "labels.parquet").to_pydict()
    return found


def test_the_artifact_and_the_metrics_are_those_of_the_rule(tmp_path: Path) -> None:
    inputs, ctx = three(tmp_path), context(tmp_path / "stage")
    metrics = combine.run(params("mean_probability"), inputs, ctx)
    ps = [np.array(table(folder)["p"]) for folder in inputs["labels"]]
    found = read_labels(ctx.result, IDS).as_predictions()
    mean = np.mean(ps, axis=0)
    np.testing.assert_allclose(found.p[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found.logits[0], np.log(mean), rtol=1e-5)
    assert table(ctx.result)["covered"] == [True] * ROWS
    assert metrics["accuracy"] == pytest.approx(np.mean(mean.argmax(1) == TRUTH))
    assert metrics["mean_p"] == pytest.approx(mean.mean(0), rel=1e-6)
    assert (metrics["rows"], metrics["coverage"]) == (ROWS, 1.0)
    votes = [p.argmax(1) for p in ps]
    assert [one["accuracy"] for one in metrics["supervisors"]] == pytest.approx([np.mean(v == TRUTH) for v in votes])
    pairs = [np.mean(votes[i] == votes[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert metrics["agreement"] == pytest.approx(np.mean(pairs))
    assert metrics["agreements"][2][0] == pytest.approx(pairs[1])
    json.dumps(metrics, allow_nan=False)


def test_labels_are_joined_by_id_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    first, second = context(tmp_path / "first"), context(tmp_path / "second")
    chance = np.random.default_rng(0)
    covered = chance.random(ROWS) < 0.8
    inputs = three(tmp_path / "in-order", covered=covered)
    mixed = three(tmp_path / "mixed", covered=covered, order=chance.permutation(ROWS).tolist())
    for rule in ("dawid_skene", "metal"):
        metrics = combine.run(params(rule), inputs, first)
        assert combine.run(params(rule), mixed, second) == metrics
        assert (first.result / "labels.parquet").read_bytes() == (second.result / "labels.parquet").read_bytes()


def test_supervisors_abstain_where_they_say_so_and_where_they_are_unsure(tmp_path: Path) -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.2, 0.8]])
    q = np.array([[0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.6, 0.4]])
    inputs = {
        "rows": write_rows(tmp_path / "rows", np.array([0, 1, 1, 1])),
        "labels": [
            write_labels(tmp_path / "a", p),
            write_labels(tmp_path / "b", q, covered=np.array([False, True, False, True])),
        ],
    }
    ctx = context(tmp_path / "stage")
    metrics = combine.run(params("mean_probability", abstain_below=0.6, prior=[0.25, 0.75]), inputs, ctx)
    found = table(ctx.result)
    np.testing.assert_allclose(found["p"], [p[0], (p[1] + q[1]) / 2, [0.25, 0.75], (p[3] + q[3]) / 2], rtol=1e-6)
    assert found["covered"] == [True, True, False, True]
    assert (metrics["coverage"], metrics["accuracy"]) == (0.75, 1.0)
    assert [one["coverage"] for one in metrics["supervisors"]] == [0.75, 0.5]


def test_estimated_accuracies_stand_beside_the_true_ones(tmp_path: Path) -> None:
    metrics = combine.run(params("dawid_skene"), three(tmp_path), context(tmp_path / "stage"))
    for one in metrics["supervisors"]:
        assert one["estimated_accuracy"] == pytest.approx(one["accuracy"], abs=0.07)
    assert "estimated_accuracy" not in metrics["diagnostics"]  # it is said once


def test_scores_are_the_weights_of_rounds_or_the_log_odds_of_accuracies(tmp_path: Path) -> None:
    truth = np.arange(ROWS) % 3
    labels = [write_labels(tmp_path / f"weak-{i}", said(0.6, i, truth, 3)) for i in range(2)]
    scores = [
        write_labels(tmp_path / "test", said(0.6, 0, truth, 3), accuracy=0.6),
        write_labels(tmp_path / "round", said(0.6, 0, truth, 3), accuracy=0.9, weight=0.7),
    ]
    inputs = {"rows": write_rows(tmp_path / "rows", truth), "labels": labels, "scores": scores}
    ctx = context(tmp_path / "stage")
    metrics = combine.run(params("weighted"), inputs, ctx)
    weights = [math.log(2 * 0.6 / 0.4), 0.7]
    assert [one["weight"] for one in metrics["supervisors"]] == pytest.approx(weights)
    ps = [np.array(table(folder)["p"]) for folder in labels]
    np.testing.assert_allclose(table(ctx.result)["p"], np.average(ps, axis=0, weights=weights), rtol=1e-6)


def test_the_students_labels_decide_who_supervises(tmp_path: Path) -> None:
    inputs = three(tmp_path) | {
        "student": write_labels(tmp_path / "student", said(0.8, 9), order=range(ROWS - 1, -1, -1))
    }
    ctx = context(tmp_path / "stage")
    metrics = combine.run(params("co_supervised"), inputs, ctx)
    student = said(0.8, 9)
    ps = np.array([table(folder)["p"] for folder in inputs["labels"]])
    closest = (-ps * np.log(student)).sum(2).argmin(0)
    label = ps[closest, np.arange(ROWS)]
    found = table(ctx.result)
    assert found["covered"] == (label.argmax(1) == student.argmax(1)).tolist()
    np.testing.assert_allclose(np.array(found["p"])[found["covered"]], label[found["covered"]], rtol=1e-6)
    assert metrics["coverage"] == metrics["diagnostics"]["consensus"] < 1


RULES = [
    "mean_probability",
    "mean_logit",
    "majority",
    "weighted",
    "dawid_skene",
    "metal",
    "flyingsquid",
    "co_supervised",
]


@pytest.mark.parametrize("rule", RULES)
def test_a_second_run_writes_the_same_bytes(tmp_path: Path, rule: str) -> None:
    inputs = three(tmp_path, accuracy=0.7) | {"student": write_labels(tmp_path / "student", said(0.8, 9))}
    inputs["scores"] = inputs["labels"]
    first, second = context(tmp_path / "first"), context(tmp_path / "second")
    assert combine.run(params(rule), inputs, first) == combine.run(params(rule), inputs, second)
    assert (first.result / "labels.parquet").read_bytes() == (second.result / "labels.parquet").read_bytes()


def test_labels_that_cannot_be_combined_are_refused(tmp_path: Path) -> None:
    inputs = three(tmp_path)
    p = said(0.8, 5)
    nan, sums = p.copy(), p.copy()
    nan[3, 0], sums[3, 0] = np.nan, 0.99
    fewer = write_labels(tmp_path / "fewer", p[:-1])
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("are not the 400", params("majority"), {"labels": [*inputs["labels"], fewer]}),
        ("no probabilities", params("majority"), {"labels": [write_labels(tmp_path / "nan", nan)]}),
        ("row row-3 add up to", params("majority"), {"labels": [write_labels(tmp_path / "sums", sums)]}),
        (
            "different numbers of classes",
            params("majority"),
            {"labels": [*inputs["labels"], write_labels(tmp_path / "three", said(0.8, 5, classes=3))]},
        ),
        ("no labels to combine", params("majority"), {"labels": []}),
        ("1 scores for 3 labels", params("weighted"), {"scores": [fewer]}),
        ("neither weight nor accuracy", params("weighted"), {"scores": [fewer] * 3}),
        ("must be 2 shares", params("majority", prior=[0.5, 0.2, 0.3]), {}),
        ("must be 2 shares", params("majority", prior=[0.5, 0.6]), {}),
        ("must be at least 0 and below 1", params("majority", abstain_below=1.0), {}),
        ("leaves none of the 400 rows", params("majority", abstain_below=0.99), {}),
        ("unexpected keyword argument 'alpha'; it takes", params("majority", alpha=1), {}),
        ("Did you mean", params("majorities"), {}),
    ]
    for number, (message, settings, changed) in enumerate(cases):
        with pytest.raises(UserError, match=message):
            combine.run(settings, inputs | changed, context(tmp_path / f"stage-{number}"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("Combined(votes.p[0, :, :1], votes.voted[0])", r"returns p \[400, 1\]"),
        ("Combined(votes.p[0] * 2, votes.voted[0])", "do not add up to 1"),
        ("Combined(votes.p[0] * float('nan'), votes.voted[0])", "do not add up to 1"),
        ("Combined(votes.p[0] * (1 + (votes.p[0, :, :1] < 0.5)), votes.p[0, :, 0] >= 0.5)", "do not add up to 1"),
        ("Combined(votes.p[0], votes.p[0, :, 0])", "covered must be true or false"),
        ("Combined(votes.p[0], votes.voted[0], 7)", "combine=mine failed: TypeError"),
    ],
)
def test_what_a_users_rule_gives_is_checked(tmp_path: Path, body: str, message: str) -> None:
    folder = tmp_path / "mine" / "combining"
    folder.mkdir(parents=True)
    head = "from w2s_cli.combining import Combined\n\n\n"
    (folder / "mine.py").write_text(f"{head}def mine(votes, *, more=1):\n    return {body}\n")
    (folder / "fine.py").write_text(
        f"{head}def fine(votes):\n    return Combined(votes.p[1], votes.voted[1], {{'rows': votes.p[0].sum()}})\n"
    )
    inputs = three(tmp_path)
    with pytest.raises(UserError, match=message):
        combine.run(params("mine"), inputs, context(tmp_path / "stage", folders=[str(tmp_path / "mine")]))
    metrics = combine.run(params("fine"), inputs, context(tmp_path / "good", folders=[str(tmp_path / "mine")]))
    assert metrics["accuracy"] == metrics["supervisors"][1]["accuracy"]
    assert metrics["diagnostics"] == {"rows": pytest.approx(ROWS)}


@pytest.mark.parametrize("point", ["combine.start", "combine.step:2"])
def test_fault_points_are_reached_and_leave_no_labels(tmp_path: Path, point: str) -> None:
    inputs = three(tmp_path)
    context(tmp_path / "stage")
    script = (
        "from pathlib import Path\nfrom w2s_cli.store.context import Context\nfrom w2s_cli.stages import combine\n"
        f"f = Path({str(tmp_path / 'stage')!r})\n"
        f"combine.run({params('majority')!r}, "
        f"{{'rows': Path({str(inputs['rows'])!r}), 'labels': [Path(p) for p in {[str(p) for p in inputs['labels']]!r}]}}, "
        "Context(f, f / 'work', f / 'result'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "W2S_FAULT": point}, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == -signal.SIGKILL
    assert not list((tmp_path / "stage" / "result").iterdir())
