"""Early stopping: what is kept, what it is measured on, and that it changes nothing else, killed or not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from tests.stage_files import killed
from tests.tiny_models import make_model
from tests.unit.training.test_models import context, labelled, params, write_rows
from tests.unit.training.test_reward import planted
from tests.unit.training.test_training import artifacts
from w2s_cli.errors import UserError
from w2s_cli.stages import features, finetune, label
from w2s_cli.store.context import Stopped
from w2s_cli.training.loop import Recipe, make_optimizer
from w2s_cli.training.memory import Budget
from w2s_cli.training.stopping import EarlyStopping, early_stopping

STOPPING = {"metric": "accuracy", "every": 2, "patience": None}
MODES = ("full", pytest.param("lora", marks=pytest.mark.slow), "probe")


def write_labels(folder: Path, p: np.ndarray, **columns: Any) -> Path:
    """A labels artifact; p [rows] of class 1, for the ids r0, r1, …"""
    folder.mkdir(parents=True)
    table = {"id": [f"r{row}" for row in range(len(p))], "p": np.stack([1 - p, p], 1).tolist(), **columns}
    pq.write_table(pa.table(table), folder / "labels.parquet")
    return folder


def noisy_task(folder: Path, rows: int, seed: int, noise: float) -> dict[str, Path]:
    """Texts of class 1 have "!" signs; the weak labels are wrong on a share `noise` of the rows, at random."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.arange(rows) % 2)
    letters = [list("abcdefgh !!" if label else "abcdefgh ") for label in truth]
    texts = ["".join(random.choice(drawn, random.integers(8, 24))) for drawn in letters]
    weak = np.where(random.permutation(rows) < noise * rows, 1 - truth, truth)
    return {
        "rows": write_rows(folder / "rows", texts, truth.tolist()),
        "labels": write_labels(folder / "labels", 0.1 + 0.8 * weak),
    }


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Training and validation rows with noisy weak labels, a base model, and its features."""
    folder = tmp_path_factory.mktemp("task")
    base = make_model(folder / "base", "qwen2")
    train, held = noisy_task(folder / "train", 48, 0, 0.35), noisy_task(folder / "held", 96, 1, 0.2)
    found = {**train, "validation_rows": held["rows"], "validation_labels": held["labels"], "base": base}
    for name, rows in (("features", train["rows"]), ("validation_features", held["rows"])):
        ctx = context(folder / name, model_path=str(base))
        features.run(params(), {"rows": rows}, ctx)
        found[name] = ctx.result
    return found


def chosen(mode: str = "full", **changed: Any) -> dict[str, Any]:
    rate = {"full": 3e-3, "lora": 1e-2, "probe": 0.3}[mode]
    defaults = {"mode": mode, "labels": "soft", "epochs": 5.0, "batch_size": 16, "lr": rate, "schedule": "constant"}
    return params(**{**defaults, "stopping": STOPPING, **changed})


def run_task(folder: Path, task: dict[str, Path], mode: str, *, drop: tuple[str, ...] = (), **changed: Any) -> Any:
    """finetune on the task; its metrics."""
    execution = changed.pop("execution", {})
    skip = {"base", *drop, *(() if mode == "probe" else ("features", "validation_features"))}
    inputs: Any = {name: path for name, path in task.items() if name not in skip}
    ctx = context(folder, model_path=str(task["base"]), log_every=1, **execution)
    return finetune.run(chosen(mode, **changed), inputs, ctx)


def said_of(folder: Path, task: dict[str, Path], mode: str) -> np.ndarray:
    """Logits [rows, 2] of the kept model on the validation rows."""
    edges: Any = {"rows": task["validation_rows"], "model": folder / "result"}
    if mode == "probe":
        edges["features"] = task["validation_features"]
    ctx = context(folder / "said", base_path=str(task["base"]))  # adapters are kept without their base
    label.run(params(), edges, ctx)
    return labelled(folder / "said")


def weak_classes(task: dict[str, Path]) -> np.ndarray:
    p = pq.read_table(task["validation_labels"] / "labels.parquet")["p"].to_pylist()
    return (np.array(p)[:, 1] > 0.5).astype(int)


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
@pytest.mark.parametrize("mode", MODES)
def test_the_saved_model_is_that_of_the_best_evaluation(
    tmp_path: Path, task: dict[str, Path], mode: str, metric: str
) -> None:
    metrics = run_task(tmp_path / "out", task, mode, stopping={**STOPPING, "metric": metric})
    assert metrics["steps"] == 15
    assert metrics["stopping_on"] == "weak labels"
    assert [step for step, _ in metrics["evaluations"]] == [2, 4, 6, 8, 10, 12, 14, 15]  # and at the end
    values = [value for _, value in metrics["evaluations"]]
    assert len(set(values)) > 2
    assert metrics["best_value"] == max(values)
    assert metrics["best_step"] == metrics["evaluations"][values.index(max(values))][0]
    logits, weak = said_of(tmp_path / "out", task, mode), weak_classes(task)
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]
    expected = roc_auc_score(weak, margin) if metric == "auroc" else np.mean((margin > 0) == weak)
    assert metrics["best_value"] == pytest.approx(expected, abs=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    curve = [[line["step"], line[f"val_{metric}"]] for line in lines if f"val_{metric}" in line]
    assert curve == metrics["evaluations"]


@pytest.mark.slow
def test_a_student_that_overfits_its_noisy_supervisor_is_kept_from_before(tmp_path: Path) -> None:
    def drawn(name: str, rows: int, seed: int, noise: float) -> dict[str, Path]:
        random = np.random.default_rng(seed)
        truth = random.permutation(np.arange(rows) % 2)
        starts = ["".join(random.choice(list("abcdefgh "), random.integers(8, 24))) for _ in truth]
        texts = [start + ("!" if label else "?") for start, label in zip(starts, truth, strict=True)]
        weak = np.where(random.permutation(rows) < noise * rows, 1 - truth, truth)
        labels = write_labels(tmp_path / name / "labels", 0.1 + 0.8 * weak)
        return {"rows": write_rows(tmp_path / name / "rows", texts, truth.tolist()), "labels": labels}

    base = make_model(tmp_path / "base", "qwen2")
    train, held, test = drawn("train", 64, 0, 0.3), drawn("held", 128, 1, 0.3), drawn("test", 256, 2, 0.0)
    edges: Any = {**train, "validation_rows": held["rows"], "validation_labels": held["labels"]}
    accuracy = {}
    for name, stopping in (("kept", {"metric": "accuracy", "every": 8}), ("last", None)):
        ctx = context(tmp_path / name, model_path=str(base), micro_tokens=2048)
        metrics = finetune.run(chosen(epochs=20.0, stopping=stopping), edges, ctx)
        if stopping:
            assert metrics["best_step"] < metrics["steps"] / 2
            assert metrics["best_value"] > metrics["evaluations"][-1][1] + 0.05
        said = label.run(params(), {"rows": test["rows"], "model": ctx.result}, context(tmp_path / f"{name}-test"))
        accuracy[name] = said["accuracy"]
    assert accuracy["kept"] > accuracy["last"] + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_an_evaluation_changes_nothing_of_the_training(tmp_path: Path, task: dict[str, Path], mode: str) -> None:
    run_task(tmp_path / "never", task, mode, stopping=None)
    run_task(tmp_path / "often", task, mode, stopping={**STOPPING, "every": 1})
    run_task(tmp_path / "end", task, mode, stopping={**STOPPING, "every": 1000})
    never, often, end = (artifacts(tmp_path / name) for name in ("never", "often", "end"))
    weights = "result/model/adapter_model.safetensors" if mode == "lora" else "result/model/model.safetensors"
    assert never[weights] == end[weights]
    steps = [[line for line in found["metrics.jsonl"].splitlines() if b"loss" in line] for found in (never, often)]
    assert steps[0] == steps[1]
    assert len(steps[0]) == 15


def test_an_evaluation_touches_no_random_state_and_no_gradient(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)).train()
    inputs = torch.randn(32, 4)
    labels = np.eye(2)[np.arange(32) % 2]
    optimizer = make_optimizer(model, Recipe(epochs=1, lr=0.1))
    model(inputs).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    before = (torch.get_rng_state(), json.dumps(optimizer.state_dict(), default=lambda t: t.tolist()))
    stopping = early_stopping(
        {"metric": "auroc", "every": 1}, lambda rows: model(inputs[rows]), np.ones(32, dtype=int), labels
    )
    assert not stopping.evaluate(model, 1, Budget(context(tmp_path), "micro_tokens"), context(tmp_path))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert json.dumps(optimizer.state_dict(), default=lambda t: t.tolist()) == before[1]
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    model.eval()
    margin = (model(inputs)[:, 1] - model(inputs)[:, 0]).detach().double()
    step, value = stopping.best
    assert step == 1
    assert value == pytest.approx(roc_auc_score(labels[:, 1], margin))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_stopped_and_resumed_keeps_the_same_weights(tmp_path: Path, task: dict[str, Path], mode: str) -> None:
    one = run_task(tmp_path / "one", task, mode)
    assert one["best_step"] < 12  # so the weights that are kept at step 12 exist in the checkpoint only
    answers = iter([False] * 11 + [True])
    skip = {"base", *(() if mode == "probe" else ("features", "validation_features"))}
    ctx = context(tmp_path / "two", model_path=str(task["base"]), log_every=1)
    ctx.stop_requested = lambda: next(answers)
    with pytest.raises(Stopped):
        finetune.run(chosen(mode), {name: path for name, path in task.items() if name not in skip}, ctx)
    assert [p.name for p in ctx.work.iterdir()] == ["checkpoint-000000012"]
    torch.manual_seed(999)
    assert run_task(tmp_path / "two", task, mode) == one
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


@pytest.mark.parametrize("point", ["finetune.step:13", "checkpoint.files-written:12", "checkpoint.renamed:12"])
@pytest.mark.slow
def test_a_kill_between_the_best_evaluation_and_the_end_changes_nothing(
    tmp_path: Path, task: dict[str, Path], point: str
) -> None:
    expected = run_task(tmp_path / "one", task, "full")
    killed(lambda: run_task(tmp_path / "two", task, "full", execution={"checkpoint_seconds": 0}), point, tmp_path)
    assert run_task(tmp_path / "two", task, "full") == expected
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


def test_patience_ends_a_training_and_keeps_its_best(tmp_path: Path, task: dict[str, Path]) -> None:
    free = run_task(tmp_path / "free", task, "probe", epochs=20.0)
    short = run_task(tmp_path / "short", task, "probe", epochs=20.0, stopping={**STOPPING, "patience": 2})
    evaluations = short["evaluations"]
    assert evaluations == free["evaluations"][: len(evaluations)]
    assert short["steps"] == evaluations[-1][0] < free["steps"]
    values = [value for _, value in evaluations]
    assert values.index(max(values)) == len(values) - 3  # two evaluations without a gain
    assert short["best_step"] == evaluations[-3][0]


def test_without_validation_labels_it_is_ground_truth(tmp_path: Path, task: dict[str, Path]) -> None:
    metrics = run_task(tmp_path / "out", task, "probe", drop=("validation_labels",))
    assert metrics["stopping_on"] == "ground truth"
    truth = pq.read_table(task["validation_rows"] / "rows.parquet")["label"].to_numpy()
    assert metrics["best_value"] == pytest.approx(np.mean(said_of(tmp_path / "out", task, "probe").argmax(1) == truth))


def test_validation_rows_without_a_label_do_not_count(tmp_path: Path, task: dict[str, Path]) -> None:
    rows = pq.read_table(task["validation_rows"] / "rows.parquet")
    covered = np.arange(rows.num_rows) % 3 > 0
    labels = write_labels(tmp_path / "labels", np.where(covered, 0.9 * weak_classes(task), 0.7), covered=covered)
    metrics = run_task(tmp_path / "out", {**task, "validation_labels": labels}, "probe")
    right = said_of(tmp_path / "out", task, "probe").argmax(1) == weak_classes(task)
    assert metrics["best_value"] == pytest.approx(right[covered].mean())


def test_reward_models_stop_on_pairwise_accuracy(tmp_path: Path) -> None:
    edges: Any = {"rows": planted(tmp_path / "rows", 32), "validation_rows": planted(tmp_path / "held", 64, seed=1)}
    ctx = context(tmp_path / "out", model_path=str(make_model(tmp_path / "base", "qwen2")))
    metrics = finetune.run(chosen(epochs=8.0, labels="hard"), edges, ctx)
    said = label.run(params(), {"rows": edges["validation_rows"], "model": ctx.result}, context(tmp_path / "said"))
    assert metrics["best_value"] == said["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("stopping", "drop", "message"),
    [
        ({"metric": "acc"}, (), "stopping.metric=acc"),
        ({"every": 0}, (), "stopping.every=0"),
        ({"patience": 0}, (), "stopping.patience=0"),
        ({}, ("validation_rows",), "validation_rows"),
        ({}, ("validation_features",), "validation_features"),
        ({}, ("features",), "needs features"),
    ],
)
def test_what_cannot_stop_is_refused(
    tmp_path: Path, task: dict[str, Path], stopping: dict[str, Any], drop: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_task(tmp_path / "out", task, "probe", drop=drop, stopping={**STOPPING, **stopping})


def test_validation_rows_that_cannot_judge_are_refused(tmp_path: Path, task: dict[str, Path]) -> None:
    rows = pq.read_table(task["validation_rows"] / "rows.parquet").num_rows
    one = {**task, "validation_labels": write_labels(tmp_path / "labels", np.full(rows, 0.9))}
    with pytest.raises(UserError, match="validation labels of every class"):
        run_task(tmp_path / "out", one, "full", stopping={**STOPPING, "metric": "auroc"})
    other = {**task, "validation_rows": planted(tmp_path / "pairs", rows)}
    with pytest.raises(UserError, match="must be the same"):
        run_task(tmp_path / "pairs-out", other, "full")


def test_weights_that_became_nan_are_never_the_best(tmp_path: Path) -> None:
    labels = np.eye(2)[np.arange(4) % 2]
    stopping = early_stopping(
        STOPPING, lambda rows: torch.full((len(rows), 2), torch.nan), np.ones(4, dtype=int), labels
    )
    with pytest.raises(UserError, match="learning rate"):
        stopping.evaluate(torch.nn.Linear(1, 1), 2, Budget(context(tmp_path), "micro_tokens"), context(tmp_path))


def test_of_equal_evaluations_the_first_is_kept(tmp_path: Path) -> None:
    model, values = torch.nn.Linear(1, 1, bias=False), iter([0.5, 0.7, 0.7, 0.6])
    stopping = EarlyStopping("accuracy", 1, None, lambda budget: next(values))
    for step in range(1, 5):
        torch.nn.init.constant_(model.weight, step)
        stopping.evaluate(model, step, Budget(context(tmp_path), "micro_tokens"), context(tmp_path))
    stopping.restore_best_weights(model)
    assert stopping.best == (2, 0.7)
    assert float(model.weight) == 2


def test_checkpoints_without_early_stopping_hold_no_further_tensors(tmp_path: Path, task: dict[str, Path]) -> None:
    for name, stopping, kept in (("plain", None, 0), ("kept", STOPPING, 1)):
        answers = iter([False, False, True])
        ctx = context(tmp_path / name, model_path=str(task["base"]))
        ctx.stop_requested = lambda answers=answers: next(answers)  # type: ignore[misc]
        inputs: Any = {name: path for name, path in task.items() if name != "base"}
        with pytest.raises(Stopped):
            finetune.run(chosen("probe", stopping=stopping), inputs, ctx)
        tensors = load_file(ctx.work / "checkpoint-000000003" / "tensors.safetensors")
        assert sum(name.startswith("kept/") for name in tensors) == kept
