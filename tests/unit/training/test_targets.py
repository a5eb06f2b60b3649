"""What a training sees: label forms, rows without a label, row weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.tiny_models import make_model
from tests.unit.training.test_models import LABELS, TEXTS, context, params, write_rows
from tests.unit.training.test_stopping import write_labels
from w2s_cli.data.artifacts.rows import read_rows
from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.stages import finetune
from w2s_cli.training.objectives import classification
from w2s_cli.training.targets import sharpened, training_targets

P = np.array([0.9, 0.2, 0.6, 0.55, 0.3, 0.8, 0.45, 0.1, 0.7, 0.35])  # of class 1


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"), "gpt2")


def write_weights(folder: Path, weights: np.ndarray, ids: list[str] | None = None) -> Path:
    folder.mkdir()
    names = ids or [f"r{row}" for row in range(len(weights))]
    pq.write_table(pa.table({"id": names, "weight": pa.array(weights, pa.float64())}), folder / "weights.parquet")
    return folder


def trained(folder: Path, base: Path, inputs: dict[str, Path], **changed: Any) -> tuple[dict[str, Any], bytes]:
    """(metrics, weights file) of a short training."""
    ctx = context(folder, model_path=str(base))
    metrics = finetune.run(params(**{"labels": "soft", **changed}), inputs, ctx)  # type: ignore[arg-type]
    return metrics, (ctx.result / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 3.0])
def test_sharpened_labels_are_the_renormalised_power(temperature: float) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    p[0] = [0, 1, 0]
    powered = p ** (1 / temperature)
    found = sharpened(p.astype(np.float32), temperature)
    np.testing.assert_allclose(found, powered / powered.sum(1, keepdims=True), atol=1e-5)
    assert (found.argmax(1) == p.argmax(1)).all()


def test_a_very_small_temperature_is_hard_and_does_not_overflow() -> None:
    p = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5]], dtype=np.float32)
    assert sharpened(p, 1e-6).tolist() == [[1, 0], [0, 1], [0.5, 0.5]]


@pytest.mark.parametrize("temperature", [None, 0.0, -1.0, float("nan")])
def test_sharpening_needs_a_temperature(tmp_path: Path, temperature: float | None) -> None:
    rows, labels = read_rows(write_rows(tmp_path / "rows")), write_labels(tmp_path / "labels", P)
    with pytest.raises(UserError, match="temperature above 0"):
        training_targets(rows, labels, "sharpened", temperature)
    with pytest.raises(UserError, match="labels=sharp "):
        training_targets(rows, labels, "sharp", 0.5)


@pytest.mark.slow
def test_the_forms_of_a_label_in_a_training(tmp_path: Path, base: Path) -> None:
    rows, labels = write_rows(tmp_path / "rows"), write_labels(tmp_path / "labels", P)
    inputs = {"rows": rows, "labels": labels}
    made = {
        "soft": trained(tmp_path / "soft", base, inputs),
        "one": trained(tmp_path / "one", base, inputs, labels="sharpened", sharpening=1.0),
        "sharp": trained(tmp_path / "sharp", base, inputs, labels="sharpened", sharpening=0.25),
        "hard": trained(tmp_path / "hard", base, inputs, labels="hard"),
        "nearly": trained(tmp_path / "nearly", base, inputs, labels="sharpened", sharpening=1e-4),
    }
    assert made["hard"][1] == made["nearly"][1]
    assert len({made[name][1] for name in ("soft", "sharp", "hard")}) == 3
    q = P**4 / (P**4 + (1 - P) ** 4)
    exact = write_labels(tmp_path / "exact", q)
    other = trained(tmp_path / "other", base, {"rows": rows, "labels": exact})
    assert other[0]["final_loss"] == pytest.approx(made["sharp"][0]["final_loss"], abs=1e-6)
    card = (tmp_path / "sharp" / "result" / "model" / "README.md").read_text()
    assert "sharpened (T = 0.25) labels" in card


@pytest.mark.parametrize("form", ["soft", "hard"])
def test_rows_without_a_label_are_as_if_they_were_not_there(tmp_path: Path, base: Path, form: str) -> None:
    covered = np.arange(10) % 3 > 0
    p = np.where(covered, P, np.nan)  # what stands there is never read
    labels = write_labels(tmp_path / "labels", p, covered=covered)
    metrics, weights = trained(
        tmp_path / "some", base, {"rows": write_rows(tmp_path / "rows"), "labels": labels}, labels=form
    )
    assert metrics["rows"] == 6
    assert metrics["uncovered"] == 4
    kept = np.flatnonzero(covered)
    alone = tmp_path / "alone"
    alone.mkdir()
    ids = [f"r{row}" for row in kept]
    truth = pa.array([LABELS[row] for row in kept], pa.int32())
    table = pa.table({"id": ids, "group": ids, "text": [TEXTS[row] for row in kept], "label": truth})
    pq.write_table(table, alone / "rows.parquet")
    pq.write_table(pa.table({"id": ids, "p": np.stack([1 - P, P], 1)[kept].tolist()}), alone / "labels.parquet")
    only, same = trained(tmp_path / "only", base, {"rows": alone, "labels": alone}, labels=form)
    assert weights == same
    assert metrics == {**only, "uncovered": 4}


def test_labels_that_cover_every_row_train_as_labels_that_say_nothing(tmp_path: Path, base: Path) -> None:
    rows = write_rows(tmp_path / "rows")
    all_ = write_labels(tmp_path / "all", P, covered=np.ones(10, dtype=bool))
    silent = write_labels(tmp_path / "silent", P)
    one, other = (trained(tmp_path / f.name / "out", base, {"rows": rows, "labels": f}) for f in (all_, silent))
    assert one[1] == other[1]
    assert one[0] == {**other[0], "uncovered": 0}


def test_nothing_covered_and_one_covered_class_are_refused(tmp_path: Path) -> None:
    rows = read_rows(write_rows(tmp_path / "rows"))
    none = write_labels(tmp_path / "none", P, covered=np.zeros(10, dtype=bool))
    with pytest.raises(UserError, match=r"none.labels\.parquet: none of its 10 rows is covered"):
        training_targets(rows, none, "soft")
    one = write_labels(tmp_path / "one", P, covered=P > 0.5)
    with pytest.raises(UserError, match="all 5 covered labels are class 1"):
        training_targets(rows, one, "hard")
    assert len(training_targets(rows, one, "soft").rows.ids) == 5


def test_weights_multiply_each_rows_cross_entropy() -> None:
    random = np.random.default_rng(0)
    x, y, w = random.normal(size=(20, 3)), random.dirichlet(np.ones(3), 20), random.uniform(0, 3, 20)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    expected = float(np.mean(w * -(y * log_p).sum(1)))
    slope = w[:, None] * (np.exp(log_p) - y) / 20  # of the mean, with respect to the logits
    logits = torch.tensor(x, requires_grad=True)
    objective = classification.objective(
        lambda rows: logits[rows],
        np.ones(20, dtype=int),
        torch.tensor(y),
        load_loss("xent"),
        {},
        weights=torch.tensor(w),
    )
    total, right = 0.0, 0
    for part in objective.parts(objective.cut(range(20), 6), 0.0):
        part.backward.backward()  # type: ignore[no-untyped-call]
        total, right = total + float(part.sums["loss"]), right + int(part.sums["right"])
    assert total == pytest.approx(expected, abs=1e-12)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), slope, atol=1e-12)
    assert right == int((x.argmax(1) == y.argmax(1)).sum())  # agreement counts rows, not weights


@pytest.mark.slow
def test_weights_of_one_change_nothing_and_rows_of_weight_zero_teach_nothing(tmp_path: Path, base: Path) -> None:
    rows, labels = write_rows(tmp_path / "rows"), write_labels(tmp_path / "labels", P)
    plain = trained(tmp_path / "plain", base, {"rows": rows, "labels": labels})
    ones = write_weights(tmp_path / "ones", np.ones(10))
    assert trained(tmp_path / "same", base, {"rows": rows, "labels": labels, "weights": ones}) == plain
    half = write_weights(tmp_path / "half", np.where(np.arange(10) % 2, 2.0, 0.0))
    flipped = write_labels(tmp_path / "flipped", np.where(np.arange(10) % 2, P, 1 - P))
    one, other = (
        trained(tmp_path / f"out-{folder.name}", base, {"rows": rows, "labels": folder, "weights": half})[1]
        for folder in (labels, flipped)
    )
    assert one == other
    assert one != plain[1]


def test_weights_are_joined_by_id_and_follow_the_covered_rows(tmp_path: Path) -> None:
    rows = read_rows(write_rows(tmp_path / "rows"))
    order = [3, 1, 9, 0, 2, 8, 7, 4, 6, 5]
    weights = write_weights(tmp_path / "weights", np.array(order, dtype=float), [f"r{row}" for row in order])
    labels = write_labels(tmp_path / "labels", P, covered=np.arange(10) > 6)
    found = training_targets(rows, labels, "soft", weights=weights).weights
    assert found is not None
    assert found.tolist() == [7, 8, 9]
    assert training_targets(rows, None, "hard").weights is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(10), "all weights are 0"),
        (np.array([1.0] * 9 + [-1.0]), "weight of row r9 is -1"),
        (np.array([np.nan] + [1.0] * 9), "weight of row r0 is nan"),
        (np.ones(9), r"1 missing \(first: r9\)"),
        (np.ones(11), r"1 extra \(first: r10\)"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path: Path, weights: np.ndarray, message: str) -> None:
    rows, labels = read_rows(write_rows(tmp_path / "rows")), write_labels(tmp_path / "labels", P)
    with pytest.raises(UserError, match=message):
        training_targets(rows, labels, "soft", weights=write_weights(tmp_path / "weights", weights))


def test_weights_with_another_loss_are_refused(tmp_path: Path, base: Path) -> None:
    edges = {"rows": write_rows(tmp_path / "rows"), "weights": write_weights(tmp_path / "weights", np.ones(10))}
    with pytest.raises(UserError, match="loss=xent"):
        trained(tmp_path / "out", base, edges, loss={"name": "logconf", "args": {}})
