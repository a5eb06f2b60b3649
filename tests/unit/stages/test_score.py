"""What a language model's scores say to the stages that read them: which texts have none, and of which tokens they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.stage_files import context
from tests.tiny_models import make_model
from tests.unit.stages.test_tune import SCORE, TUNE
from w2s_cli.data.artifacts.completions import completions_table, read_completions, write_completions
from w2s_cli.data.artifacts.grades import write_grades
from w2s_cli.data.artifacts.pairs import Origin, Pair, write_pairs
from w2s_cli.data.artifacts.scores import read_digest, read_log_p, read_scores
from w2s_cli.errors import UserError
from w2s_cli.graders import Grade
from w2s_cli.stages import choose, pair, score, tune
from w2s_cli.store.context import Context
from w2s_cli.store.keys import ast_hash

PROMPTS = ["one?", "two?", "three?"]
IDS = ["r0", "r1", "r2"]
SAID = {
    ("r0", 0): "a dog", ("r0", 1): "", ("r0", 2): "zq", ("r1", 0): " \n", ("r1", 1): "the cat", ("r2", 0): "", ("r2", 1): "",
}  # fmt: skip
EMPTY = [name for name, text in SAID.items() if not text.strip()]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Rows, texts of which some are empty, their grades, and pairs; two for the first row."""
    made = {name: tmp_path / name for name in ("rows", "texts", "grades", "pairs")}
    for folder in made.values():
        folder.mkdir()
    pq.write_table(pa.table({"id": IDS, "prompt": PROMPTS}), made["rows"] / "rows.parquet")
    count = len(SAID)
    table = completions_table(list(SAID), list(SAID.values()), [3] * count, ["end"] * count, [None] * count)
    write_completions(made["texts"], table)
    grades = [Grade("1", "right", True) if text.strip() else Grade(None, "no answer", False) for text in SAID.values()]
    write_grades(made["grades"], read_completions(made["texts"]), grades)
    write_pairs(made["pairs"], [paired("r0", "a dog", "x"), paired("r0", "a dog", "y"), paired("r1", "the cat", "z")])
    return {**made, "base": make_model(tmp_path / "base", "llama")}


def paired(row: str, chosen: str, rejected: str) -> Pair:
    return Pair(row, Origin(chosen, "truth", 0), Origin(rejected, "own", 0))


def scored(
    folders: dict[str, Path], folder: Path, base: Path, what: str, **changed: Any
) -> tuple[Path, dict[str, Any]]:
    """The scores of texts or pairs, and their metrics."""
    ctx = ctx_of(folder, base)
    inputs: dict[str, Any] = {name: folders[name] for name in ("rows", what)}
    return ctx.result, score.run({**SCORE, "other": what == "pairs", **changed}, inputs, ctx)


def ctx_of(folder: Path, base: Path) -> Context:
    sizes = {"device": "cpu", "threads": 1, "micro_tokens": 200, "eval_tokens": 200}
    return context(folder, **sizes, model_path=str(base), checkpoint_seconds=0)


def ruled(name: str, kind: str, folders: dict[str, Path], scores: Path, **args: Any) -> dict[str, Any]:
    """The fields of a `choose` or `pair` stage."""
    import w2s_cli

    code = ast_hash(Path(w2s_cli.__file__).parent / kind / f"{name}.py")
    sources: dict[str, Any] = {"texts": [folders["texts"]], "grades": [folders["grades"]], "scores": [scores]}
    params = {"rule": {"name": name, "args": args, "code": code}, "sources": ["own"], "seed": 0}
    return {"params": params, "inputs": {"rows": folders["rows"], **sources}}


def renumbered(base: Path, folder: Path) -> Path:
    """The model, with a tokenizer that cuts texts alike and numbers two letters the other way round."""
    make_model(folder, "llama")
    tokenizer = AutoTokenizer.from_pretrained(base)
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = written["model"]["vocab"]
    vocab["d"], vocab["g"] = vocab["g"], vocab["d"]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.save_pretrained(folder)
    return folder


def test_a_text_that_says_nothing_has_no_score_and_rules_pass_it_over(tmp_path: Path, folders: dict[str, Path]) -> None:
    scores, metrics = scored(folders, tmp_path / "scores", folders["base"], "texts")
    assert (metrics["rows"], metrics["empty"]) == (3, 4)
    found = dict(zip(SAID, read_scores(scores, list(SAID)).tolist(), strict=True))
    assert [name for name, value in found.items() if np.isnan(value)] == EMPTY
    learned = [values.mean(dtype=np.float64) for values in read_log_p(scores, ["r0", "r0", "r1"], "")]
    assert [found[name] for name in SAID if name not in EMPTY] == pytest.approx(learned)

    ctx = ctx_of(tmp_path / "chosen", folders["base"])
    for how in ("max", "sum"):
        told = choose.run(**ruled("by_score", "choosing", folders, scores, how=how), ctx=ctx)
        assert (told["texts"], told["left_out"]["without an answer"], told["left_out"]["empty texts"]) == (2, 1, 0)
        best = max((("r0", 0), ("r0", 2)), key=lambda name: found[name])
        assert read_completions(ctx.result).texts == [SAID[best], "the cat"]
    told = pair.run(**ruled("scored", "pairing", folders, scores, margin=0.0, most=9), ctx=ctx)
    assert told["pairs"] == 1
    assert told["left_out"] == {"within the margin": 2, "texts without a score": 4, "empty texts": 0}


def test_texts_that_were_not_scored_are_still_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    scores, _ = scored(folders, tmp_path / "scores", folders["base"], "texts")
    with pytest.raises(UserError, match="scores other texts than those of this stage"):
        read_scores(scores, [*SAID, ("r2", 2)])
    table = pq.read_table(scores / "scores.parquet")
    values = [*table["score"].to_pylist()[:2], float("nan"), *[None] * 4]
    broken = table.set_column(table.schema.get_field_index("score"), "score", pa.array(values))
    pq.write_table(broken, scores / "scores.parquet")
    with pytest.raises(UserError, match="has scores that are not finite"):
        read_scores(scores, list(SAID))


@pytest.mark.parametrize("what", ["texts", "pairs"])
def test_a_training_reads_the_scores_of_its_own_tokens(tmp_path: Path, folders: dict[str, Path], what: str) -> None:
    """Of pairs KTO's estimate too, whose texts both stages take from the next row."""
    other = make_model(tmp_path / "other", "llama", 1)
    scores, _ = scored(folders, tmp_path / "scores", other, what)
    metrics = tune.run(*tuning(folders, scores, what), ctx_of(tmp_path / "tuned", folders["base"]))
    assert metrics["rows"] == 3


def tuning(folders: dict[str, Path], scores: Path, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The params and inputs of a training with stored scores."""
    name, edges = ("kto", ("reference",)) if what == "pairs" else ("wspo", ("reference", "aligned", "unaligned"))
    params = {**TUNE, "objective": {"name": name, "args": {}}, "epochs": 1.0}
    return params, {"rows": folders["rows"], what: folders[what], **dict.fromkeys(edges, scores)}


@pytest.mark.parametrize("what", ["texts", "pairs"])
def test_scores_of_as_many_other_tokens_are_refused(tmp_path: Path, folders: dict[str, Path], what: str) -> None:
    other = renumbered(folders["base"], tmp_path / "other")
    scores, _ = scored(folders, tmp_path / "scores", other, what)
    with pytest.raises(UserError) as refused:
        tune.run(*tuning(folders, scores, what), ctx_of(tmp_path / "tuned", folders["base"]))
    assert str(scores) in str(refused.value)
    assert "reads the same texts as other tokens than the trained model: the two must share one tokenizer" in str(
        refused.value
    )


def test_scores_after_prompts_that_were_cut_otherwise_are_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    scores, metrics = scored(folders, tmp_path / "scores", folders["base"], "texts", max_length=12)
    assert metrics["truncated"]["rows"] > metrics["truncated"]["completions"] == 0
    with pytest.raises(UserError, match="one max_length, at which texts are cut"):
        tune.run(*tuning(folders, scores, "texts"), ctx_of(tmp_path / "tuned", folders["base"]))


def test_scores_of_an_older_w2s_are_known_by_their_number_of_tokens(tmp_path: Path, folders: dict[str, Path]) -> None:
    other = renumbered(folders["base"], tmp_path / "other")
    scores, _ = scored(folders, tmp_path / "scores", other, "texts")
    table = pq.read_table(scores / "scores.parquet").drop_null()
    fields = [field.remove_metadata() for field in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), scores / "scores.parquet")
    assert read_digest(scores, "") is None
    tune.run(*tuning(folders, scores, "texts"), ctx_of(tmp_path / "tuned", folders["base"]))


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_token_beyond_the_vocabulary_is_refused_on_either_side(
    tmp_path: Path, folders: dict[str, Path], side: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["base"])
    tokenizer.add_tokens(["@@"])
    tokenizer.save_pretrained(folders["base"])
    said = {"chosen": "good", "rejected": "bad", side: "so @@ so"}
    write_pairs(folders["pairs"], [paired("r0", said["chosen"], said["rejected"]), paired("r1", "the cat", "z")])
    params = {**TUNE, "objective": {"name": "orpo", "args": {}}}
    inputs: dict[str, Any] = {name: folders[name] for name in ("rows", "pairs")}
    with pytest.raises(UserError, match="and the model's vocabulary ends at"):
        tune.run(params, inputs, ctx_of(tmp_path / "tuned", folders["base"]))


def test_a_score_is_the_mean_or_the_sum_of_the_log_probabilities(folders: dict[str, Path], tmp_path: Path) -> None:
    names = [name for name in SAID if name not in EMPTY]
    mean, _ = scored(folders, tmp_path / "mean", folders["base"], "texts")
    total, _ = scored(folders, tmp_path / "sum", folders["base"], "texts", by="sum")
    log_p = read_log_p(mean, [row for row, _ in names], "")
    np.testing.assert_allclose(read_scores(mean, names), [values.mean(dtype=np.float64) for values in log_p])
    np.testing.assert_allclose(read_scores(total, names), [values.sum(dtype=np.float64) for values in log_p])
