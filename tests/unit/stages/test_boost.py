"""boost: AdaBoost's weights against scikit-learn and plain NumPy, and what they are for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from tests.stage_files import write_labels, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import boost, combine
from w2s_cli.store.context import Context


def round_of(
    folder: Path, rows: Path, p: np.ndarray, before: Path | None = None, **options: Any
) -> tuple[Path, dict[str, Any]]:
    """One boost stage as the worker leaves it: its result folder with a manifest, and its metrics."""
    result = folder / "result"
    result.mkdir(parents=True)
    inputs: dict[str, Any] = {"rows": rows, "labels": write_labels(folder / "labels", p, **options)}
    if before is not None:
        inputs["weights"] = before
    metrics = boost.run({}, inputs, Context(folder, folder, result))
    (result / "manifest.json").write_text(json.dumps({"metrics": metrics}))
    return result, metrics


def weights_of(result: Path) -> np.ndarray:
    return pq.read_table(result / "weights.parquet")["weight"].to_numpy()


def stump(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=1, random_state=0).fit(x, y, sample_weight=weights)


@pytest.mark.parametrize("classes", [2, 3])
def test_errors_and_weights_of_six_rounds_are_those_of_scikit_learn(tmp_path: Path, classes: int) -> None:
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((500, 4))
    y = np.digitize(x[:, 0] + x[:, 1] - x[:, 2], [0] if classes == 2 else [-0.8, 0.8])
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=6, random_state=0).fit(x, y)
    rows, before = write_rows(tmp_path / "rows", y), None
    for number, tree in enumerate(theirs.estimators_):
        p = tree.predict_proba(x)
        before, metrics = round_of(
            tmp_path / str(number), rows, p, before, order=range(len(y))[:: -1 if number % 2 else 1]
        )
        assert metrics["weighted_error"] == pytest.approx(theirs.estimator_errors_[number], abs=1e-9)
        assert metrics["weight"] == pytest.approx(theirs.estimator_weights_[number], abs=1e-8)
        assert metrics["accuracy"] == pytest.approx(np.mean(p.argmax(1) == y))
    assert number == 5


def test_weights_of_several_rounds_are_the_product_of_their_factors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    rows, before = write_rows(tmp_path / "rows", y), None
    w = np.ones(200, dtype=np.float64)
    for number in range(4):
        votes = np.where(rng.random(200) < 0.6, y, (y + 1) % 3)
        before, metrics = round_of(tmp_path / str(number), rows, np.eye(3)[votes], before)
        error = w[votes != y].sum() / w.sum()
        alpha = np.log((1 - error) / error) + np.log(2)
        w = w * np.exp(alpha * (votes != y))
        w /= w.mean()
        np.testing.assert_allclose(weights_of(before), w, rtol=1e-12)
        assert metrics["effective_rows"] == pytest.approx(w.sum() ** 2 / (w**2).sum(), abs=1e-5)
        assert metrics["weight"] == pytest.approx(alpha)


def test_weight_moves_to_hard_rows_and_the_ensemble_of_stumps_beats_one(tmp_path: Path) -> None:
    """Rows with x₁ > 1 (a sixth) follow another rule than the rest: one stump has them wrong."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1200, 2))
    y = (np.where(x[:, 1] > 1, x[:, 1] > 0, x[:, 0] > 0)).astype(int)
    x_test = rng.standard_normal((1200, 2))
    y_test = (np.where(x_test[:, 1] > 1, x_test[:, 1] > 0, x_test[:, 0] > 0)).astype(int)
    hard = (x[:, 1] > 1) & (x[:, 0] < 0)
    rows, before, w = write_rows(tmp_path / "rows", y), None, np.ones(len(y))
    tested, scores = [], []
    for number in range(5):
        tree = stump(x, y, w)
        wrong = tree.predict(x) != y
        before, metrics = round_of(tmp_path / str(number), rows, tree.predict_proba(x), before)
        w = weights_of(before)
        if not metrics["reset"]:
            assert w[wrong].sum() / w.sum() == pytest.approx(0.5)  # what makes the next supervisor learn something else
        if number == 0:
            assert hard.mean() < 0.1
            assert w[hard].sum() / w.sum() > 0.45
            assert metrics["effective_rows"] < 0.5 * len(y)
        tested.append(write_labels(tmp_path / f"test-{number}", tree.predict_proba(x_test)))
        scores.append(before)
    inputs: dict[str, Any] = {"rows": write_rows(tmp_path / "test-rows", y_test), "labels": tested, "scores": scores}
    (tmp_path / "result").mkdir()
    rule = {"rule": {"name": "weighted", "args": {"pool": "vote"}}, "abstain_below": 0.0, "prior": None}
    metrics = combine.run(rule, inputs, Context(tmp_path, tmp_path, tmp_path / "result"))
    single = metrics["supervisors"][0]["accuracy"]
    assert single < 0.94
    assert metrics["accuracy"] > single + 0.03


def test_a_supervisor_without_an_error_counts_much_but_not_infinitely(tmp_path: Path) -> None:
    y = np.arange(10) % 2
    result, metrics = round_of(tmp_path / "round", write_rows(tmp_path / "rows", y), np.eye(2)[y])
    assert metrics["weight"] == pytest.approx(np.log((1 - 1e-6) / 1e-6))
    assert metrics["weighted_error"] == 1e-6
    assert (weights_of(result) == 1).all()
    assert metrics["effective_rows"] == 10


@pytest.mark.parametrize(("classes", "right"), [(2, 5), (2, 0), (4, 3)])
def test_a_supervisor_no_better_than_chance_has_no_say_and_the_weights_start_anew(
    tmp_path: Path, classes: int, right: int
) -> None:
    y = np.arange(12 if classes == 4 else 10) % classes
    votes = np.where(np.arange(len(y)) < right, y, (y + 1) % classes)
    rows = write_rows(tmp_path / "rows", y)
    first, _ = round_of(
        tmp_path / "first", rows, np.eye(classes)[np.where(np.arange(len(y)) < 8, y, (y + 1) % classes)]
    )
    uniform, metrics = round_of(tmp_path / "chance", rows, np.eye(classes)[votes])
    assert (metrics["weight"], metrics["reset"]) == (0.0, True)
    reset, metrics = round_of(tmp_path / "later", rows, np.eye(classes)[(y + 1) % classes], first)
    assert metrics["reset"]
    assert not (weights_of(first) == 1).all()
    assert (weights_of(uniform) == 1).all()
    assert (weights_of(reset) == 1).all()


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    y = np.arange(50) % 2
    rows = write_rows(tmp_path / "rows", y)
    p = np.eye(2)[np.where(np.arange(50) % 7 == 0, 1 - y, y)]
    first, metrics = round_of(tmp_path / "a", rows, p)
    again, same = round_of(tmp_path / "b", rows, p, order=range(len(p))[::-1])
    assert metrics == same
    assert (first / "weights.parquet").read_bytes() == (again / "weights.parquet").read_bytes()


def test_rounds_over_other_rows_and_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    y = np.arange(10) % 2
    rows = write_rows(tmp_path / "rows", y)
    p = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    nan = p.copy()
    nan[0] = np.nan
    bad = {"ids": [f"row-{i}" for i in range(9)], "nan": [*IDS[:9], "row-9"], "zero": IDS, "negative": IDS}
    values = {"ids": [1.0] * 9, "nan": [1.0] * 9 + [np.nan], "zero": [0.0] * 10, "negative": [-1.0] + [1.0] * 9}
    refusals = {
        "ids": "are not the 10",
        "nan": "row row-9 is nan",
        "zero": "all weights are 0",
        "negative": r"row row-0 is -1",
    }
    for name, ids in bad.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"id": ids, "weight": values[name]}), tmp_path / name / "weights.parquet")
        with pytest.raises(UserError, match=refusals[name]):
            round_of(tmp_path / f"round-{name}", rows, p, tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is missing"):
        round_of(tmp_path / "no-weights", rows, p, tmp_path / "empty")
    with pytest.raises(UserError, match="are not the 10"):
        round_of(tmp_path / "fewer", rows, p[:-1])
    with pytest.raises(UserError, match="no probabilities"):
        round_of(tmp_path / "with-nan", rows, nan)
    with pytest.raises(UserError, match="1 rows have no label"):
        round_of(tmp_path / "uncovered", rows, p, covered=[False] + [True] * 9)
    with pytest.raises(UserError, match="the test rows have classes"):
        round_of(tmp_path / "classes", write_rows(tmp_path / "more", y + 1), p)


IDS = [f"row-{i}" for i in range(10)]
