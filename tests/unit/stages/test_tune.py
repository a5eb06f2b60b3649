"""tune and score on files: killed and stopped ones end with the same bytes, for adapters with dropout and scores in shards too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.conftest import sentences
from tests.stage_files import context, killed
from tests.tiny_models import make_model
from w2s_cli.data.artifacts.completions import completions_table, write_completions
from w2s_cli.data.artifacts.pairs import Origin, Pair, write_pairs
from w2s_cli.data.artifacts.scores import read_log_p, read_scores
from w2s_cli.errors import UserError
from w2s_cli.stages import score, tune
from w2s_cli.store.context import Context, Stopped

TEXTS = [str(row["text"]) for row in sentences(24)]
SCORE = {
    "model": {"sha256": "0"}, "classifier": False, "chat_template": None, "other": True, "max_length": 48, "truncation": "left",
    "precision": "fp32", "shard_texts": 10,
}  # fmt: skip
TUNE = {
    "model": {"sha256": "0"}, "objective": {"name": "kto", "args": {"beta": 0.01}}, "mode": "full", "lora": None, "chat_template": None,
    "epochs": 2.0, "lr": 5e-3, "batch_size": 8, "schedule": "cosine", "warmup": 0.0, "optimizer": "adam", "betas": [0.9, 0.999],
    "weight_decay": 0.0, "max_grad_norm": None, "max_length": 48, "truncation": "left", "precision": "fp32", "seed": 0,
}  # fmt: skip
LORA = {"mode": "lora", "lora": {"targets": "all-linear", "r": 4, "alpha": 8, "rslora": False, "dropout": 0.3}}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A model, rows, pairs, and the scores of the pairs under another model, which finds them unlikely: KTO's estimate is above 0."""
    made = {name: tmp_path / name for name in ("rows", "pairs")}
    for folder in made.values():
        folder.mkdir()
    ids = [f"r{number}" for number in range(len(TEXTS))]
    pq.write_table(pa.table({"id": ids, "prompt": TEXTS}), made["rows"] / "rows.parquet")
    pairs = [
        Pair(row, Origin(text[::-1], "a", 0), Origin(text.upper(), "b", 0))
        for row, text in zip(ids, TEXTS, strict=True)
    ]
    write_pairs(made["pairs"], pairs)
    other = at(tmp_path / "reference", make_model(tmp_path / "other", "llama", 1, initializer_range=0.1))
    score.run(SCORE, dict(made), other)
    return {**made, "reference": other.result, "base": make_model(tmp_path / "base", "llama")}


def at(folder: Path, base: Path, **execution: Any) -> Context:
    sizes = {"device": "cpu", "threads": 1, "micro_tokens": 200, "eval_tokens": 200}
    return context(folder, **sizes, model_path=str(base), checkpoint_seconds=0, **execution)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tuning(folders: dict[str, Path], ctx: Context, **changed: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = {name: folders[name] for name in ("rows", "pairs", "reference")}
    return tune.run({**TUNE, **changed}, inputs, ctx)


@pytest.mark.parametrize(
    ("changed", "point"),
    [({}, "tune.step:4"), (LORA, "checkpoint.files-written:2")],
    ids=["full", "adapters-with-dropout"],
)
def test_a_killed_tuning_ends_with_the_same_bytes(
    tmp_path: Path, folders: dict[str, Path], changed: dict[str, Any], point: str
) -> None:
    one = at(tmp_path / "one", folders["base"])
    expected = tuning(folders, one, **changed)
    two = at(tmp_path / "two", folders["base"])
    killed(lambda: tuning(folders, two, **changed), point, tmp_path)
    torch.manual_seed(999)
    assert tuning(folders, at(tmp_path / "two", folders["base"]), **changed) == expected
    assert "resumed at step" in (tmp_path / "two" / "log.txt").read_text()
    assert bytes_of(tmp_path / "two" / "result") == bytes_of(tmp_path / "one" / "result")


def scoring(folders: dict[str, Path], ctx: Context) -> dict[str, Any]:
    return score.run(SCORE, {name: folders[name] for name in ("rows", "pairs")}, ctx)


@pytest.mark.parametrize("point", ["score.start", "score.step:1", "score.step:4"])
def test_killed_scores_end_with_the_same_bytes(tmp_path: Path, folders: dict[str, Path], point: str) -> None:
    expected = scoring(folders, at(tmp_path / "one", folders["base"]))
    two = at(tmp_path / "two", folders["base"])
    killed(lambda: scoring(folders, two), point, tmp_path)
    assert len(list((tmp_path / "two" / "work").glob("shard-*"))) == (3 if point.endswith(":4") else 0)
    assert scoring(folders, two) == expected
    assert bytes_of(tmp_path / "two" / "result") == bytes_of(tmp_path / "one" / "result")


@pytest.mark.parametrize("work", [tuning, scoring])
def test_a_stopped_stage_goes_on_where_it_stopped(
    tmp_path: Path, folders: dict[str, Path], work: Callable[..., dict[str, Any]]
) -> None:
    expected = work(folders, at(tmp_path / "one", folders["base"]))
    ctx = at(tmp_path / "two", folders["base"])
    answers = iter([False, False, True])
    ctx.stop_requested = lambda: next(answers)
    with pytest.raises(Stopped):
        work(folders, ctx)
    assert list((tmp_path / "two" / "work").iterdir())
    assert work(folders, at(tmp_path / "two", folders["base"])) == expected
    assert bytes_of(tmp_path / "two" / "result") == bytes_of(tmp_path / "one" / "result")


def test_scores_do_not_depend_on_shards_or_micro_batches(tmp_path: Path, folders: dict[str, Path]) -> None:
    """In fp32 to rounding: each text is read beside others."""
    tables = []
    for number, (shard, tokens) in enumerate([(10, 200), (1000, 200), (1000, 40)]):
        ctx = context(
            tmp_path / str(number), device="cpu", threads=1, eval_tokens=tokens, model_path=str(folders["base"])
        )
        score.run({**SCORE, "shard_texts": shard}, {name: folders[name] for name in ("rows", "pairs")}, ctx)
        tables.append(pq.read_table(ctx.result / "scores.parquet").to_pylist())
    for table in tables[1:]:
        for found, expected in zip(table, tables[0], strict=True):
            assert found["id"] == expected["id"]
            for name in ("chosen_log_p", "rejected_log_p", "other_log_p"):
                assert found[name] == pytest.approx(expected[name], abs=1e-5)


def test_a_model_with_weights_that_are_not_finite_is_refused_by_its_scores(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folders["base"] / "model.safetensors")
    weights["lm_head.weight"][5] = float("nan")
    save_file(weights, folders["base"] / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError):
        scoring(folders, at(tmp_path / "one", folders["base"]))


def test_completions_have_their_mean_log_probability_as_a_score(tmp_path: Path, folders: dict[str, Path]) -> None:
    """For rules that choose or pair texts by scores."""
    texts = tmp_path / "texts"
    texts.mkdir()
    names = [("r0", 0), ("r0", 1), ("r1", 0)]
    said = ["a dog", "the dog", "x"]
    write_completions(texts, completions_table(names, said, [5, 7, 1], ["end"] * 3, [None] * 3))
    ctx = at(tmp_path / "scores", folders["base"])
    score.run({**SCORE, "other": False}, {"rows": folders["rows"], "texts": texts}, ctx)
    tokens = read_log_p(ctx.result, ["r0", "r0", "r1"], "")
    assert [len(values) for values in tokens] == [len(text) + 2 for text in said]
    found = read_scores(ctx.result, names[::-1]).tolist()
    assert found == pytest.approx([float(values.mean()) for values in tokens[::-1]], rel=1e-6)


def test_rows_of_another_pool_are_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    pq.write_table(pa.table({"id": ["r0"], "prompt": TEXTS[:1]}), folders["rows"] / "rows.parquet")
    with pytest.raises(UserError, match="has a text of row r1, which is no row of"):
        scoring(folders, at(tmp_path / "one", folders["base"]))
    with pytest.raises(UserError, match="has a text of row r1, which is no row of"):
        tuning(folders, at(tmp_path / "two", folders["base"]))


def test_a_cut_completion_is_a_caution() -> None:
    metrics = {"truncated": {"rows": 3, "share": 0.5, "limit": 48, "completions": 2}}
    about = {"model": "tiny", "role": "student", "rows": "strong_train"}
    params = {"max_length": 48}
    lines = tune.cautions(metrics, params, about)
    assert "2 completions were longer than the context of tiny (student) and are learned without their end" in lines[-1]
    whole = {"truncated": {**metrics["truncated"], "rows": 0, "share": 0.0, "completions": 0}}
    assert tune.cautions(whole, params, about) == []
