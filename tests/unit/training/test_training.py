"""The loop: resumed = uninterrupted bit for bit, micro-batch independence, schedules, memory, and what stops it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.stage_files import killed
from tests.tiny_models import make_model
from tests.unit.training.test_models import context, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import features, finetune, label
from w2s_cli.store.context import Stopped
from w2s_cli.training.batching import PADDED
from w2s_cli.training.loop import Contribution, Objective, Recipe, learning_rate, make_optimizer, train

CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "max_grad_norm": 0.5, "warmup": 0.2, "schedule": "linear"},
    "logconf": {"loss": {"name": "logconf", "args": {}}, "labels": "soft"},
    "lora": {"mode": "lora"},
    "dropout": {"mode": "lora", "lora": {**params()["lora"], "dropout": 0.3}},
    "next token": {"head": {"tokens": ["n", "y"], "suffix": ":", "frozen": True, "next_token": True}, "labels": "hard"},
    "bf16": {"precision": "bf16"},
}


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rows, soft weak labels for them, and a base model."""
    folder = tmp_path_factory.mktemp("edges")
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcde !"), random.integers(1, 30))) for _ in range(24)]
    rows = write_rows(folder / "rows", texts, [int("!" in text) for text in texts])
    p = random.uniform(0.1, 0.9, 24)
    (folder / "labels").mkdir()
    table = pa.table({"id": [f"r{i}" for i in range(24)], "p": np.stack([1 - p, p], 1).tolist()})
    pq.write_table(table, folder / "labels" / "labels.parquet")
    return {"rows": rows, "labels": folder / "labels", "base": make_model(folder / "base", "qwen2")}


def run_finetune(folder: Path, edges: dict[str, Path], changed: dict[str, Any], **execution: Any) -> dict[str, Any]:
    inputs = {"rows": edges["rows"], "labels": edges["labels"]}
    ctx = context(folder, model_path=str(edges["base"]), **execution)
    return finetune.run(params(**changed), inputs, ctx)  # type: ignore[arg-type]


def artifacts(folder: Path) -> dict[str, bytes]:
    files = {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "result").rglob("*") if p.is_file()}
    return files | {"metrics.jsonl": (folder / "metrics.jsonl").read_bytes()}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, edges: dict[str, Path], change: str) -> None:
    one = run_finetune(tmp_path / "one", edges, CHANGES[change])
    answers = iter([False, False, False, True])
    ctx = context(tmp_path / "two", model_path=str(edges["base"]))
    ctx.stop_requested = lambda: next(answers)
    with pytest.raises(Stopped):
        finetune.run(params(**CHANGES[change]), {"rows": edges["rows"], "labels": edges["labels"]}, ctx)
    assert [p.name for p in ctx.work.iterdir()] == ["checkpoint-000000004"]
    torch.manual_seed(999)  # another process has another random state …
    torch.set_num_threads(2)  # … and perhaps another thread count, which the checkpoint restores
    two = run_finetune(tmp_path / "two", edges, CHANGES[change], threads=None)
    assert torch.get_num_threads() == 1
    assert one == two
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


POINTS = [
    "finetune.start",
    "finetune.step:7",
    "checkpoint.begin:3",
    "checkpoint.tensors-written:3",
    "checkpoint.files-written:3",
    "checkpoint.renamed:3",
]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_finetune_killed_and_run_again_equals_uninterrupted(
    tmp_path: Path, edges: dict[str, Path], point: str
) -> None:
    expected = run_finetune(tmp_path / "one", edges, {})
    killed(lambda: run_finetune(tmp_path / "two", edges, {}, checkpoint_seconds=0), point, tmp_path)
    again = run_finetune(tmp_path / "two", edges, {})
    assert again == expected
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


def test_the_curve_says_how_far_the_student_agrees_with_its_labels(tmp_path: Path, edges: dict[str, Path]) -> None:
    metrics = run_finetune(tmp_path, edges, {}, log_every=1)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    last_epoch = [line["agreement"] for line in lines[6:]]  # six updates of four rows
    assert np.mean(last_epoch) == pytest.approx(metrics["train_accuracy_vs_labels"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["label", "features"])
def test_shards_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edges: dict[str, Path], kind: str
) -> None:
    trained = context(tmp_path / "trained", model_path=str(edges["base"]))
    finetune.run(params(), {"rows": edges["rows"]}, trained)
    stage: Any = {"label": label, "features": features}[kind]
    inputs = {"rows": edges["rows"], "model": trained.result}

    def work(name: str) -> None:
        stage.run(params(), inputs, context(tmp_path / name, model_path=str(edges["base"])))

    monkeypatch.setattr(features, "SHARD_ROWS", 4)
    killed(lambda: work("two"), f"{kind}.step:4", tmp_path)
    assert len(list((tmp_path / "two" / "work").iterdir())) == 3
    for name in ("one", "two"):
        work(name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name / "result").iterdir()} for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_checkpoint_goes_back_to_the_one_before(
    tmp_path: Path, edges: dict[str, Path]
) -> None:
    point = "checkpoint.tensors-written:5"
    killed(lambda: run_finetune(tmp_path, edges, {}, checkpoint_seconds=0), point, tmp_path)
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["checkpoint-000000004", "checkpoint.tmp"]
    run_finetune(tmp_path, edges, {})
    assert "resumed at step 4/12" in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["xent", "logconf", "product"])
def test_weights_agree_between_micro_batches(tmp_path: Path, edges: dict[str, Path], loss: str) -> None:
    chosen = {"loss": {"name": loss, "args": {}}, "labels": "soft", "batch_size": 12, "lr": 1e-3}
    weights, figures = [], []
    for micro_tokens in (1, 60, 4096):
        folder = tmp_path / str(micro_tokens)
        figures.append(run_finetune(folder, edges, chosen, micro_tokens=micro_tokens))
        weights.append(load_file(folder / "result" / "model" / "model.safetensors"))
    for other, figure in zip(weights[:2], figures[:2], strict=True):
        assert figure["final_loss"] == pytest.approx(figures[2]["final_loss"], abs=1e-5)
        for name, tensor in other.items():
            torch.testing.assert_close(tensor, weights[2][name], atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_compiled_layers_give_the_same_weights(tmp_path: Path, edges: dict[str, Path]) -> None:
    weights = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        run_finetune(folder, edges, {"lr": 1e-3}, compile=compiled)
        weights.append(load_file(folder / "result" / "model" / "model.safetensors"))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-4, rtol=0, msg=name)


@pytest.mark.slow
def test_without_a_compiler_compiled_layers_are_refused_with_advice(
    tmp_path: Path, edges: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    torch._dynamo.reset()  # forget what was compiled before
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    with pytest.raises(UserError, match=r"launcher\.compile=false"):
        run_finetune(tmp_path / "run", edges, {}, compile=True)


@pytest.mark.parametrize(
    ("good", "said"),
    [
        (0, "is nan at step 0, before any update, so no learning rate helps: set the model's precision=fp32 if it has"),
        (1, r"is nan at step 1: lower the learning rate \(lr=0.1\), or set the model's precision=fp32"),
    ],
)
def test_a_loss_that_is_not_a_number_says_what_to_do(tmp_path: Path, good: int, said: str) -> None:
    def bad_after(pieces: list[list[int]], progress: float) -> Iterator[Contribution]:
        value = torch.tensor(float("nan") if progress * 2 >= good else 0.0, requires_grad=True)
        yield Contribution(value, {"loss": value.detach()})

    objective = Objective(np.ones(1, dtype=int), PADDED, bad_after)
    with pytest.raises(UserError, match=said):
        train(nn.Linear(2, 2), objective, lambda epoch: [[0]], Recipe(epochs=2, lr=0.1), context(tmp_path), "finetune")


def test_schedules() -> None:
    def rates(**fields: Any) -> list[float]:
        return [learning_rate(Recipe(epochs=1, lr=1.0, **fields), step, 10) for step in range(10)]

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    expected = []
    for _ in range(10):
        expected.append(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()
    assert rates() == pytest.approx(expected)
    assert rates(schedule="constant") == [1.0] * 10
    assert rates(schedule="linear") == pytest.approx([1 - step / 10 for step in range(10)])
    assert rates(schedule="constant", warmup=0.4) == pytest.approx([0.25, 0.5, 0.75, 1.0] + [1.0] * 6)
    with pytest.raises(UserError, match="schedule=cosin "):
        rates(schedule="cosin")
    with pytest.raises(UserError, match="optimizer=sgd"):
        make_optimizer(nn.Linear(1, 1), Recipe(epochs=1, lr=1.0, optimizer="sgd"))
