"""The stage generate on files: shards, samples, demonstrations and memory change no text; what cannot be written is refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.stage_files import killed
from tests.tiny_models import make_model
from tests.unit.training.generation.rows import (
    PROMPTS,
    SAMPLED,
    generate_params,
    generated,
    run_generate,
    texts_of,
    tokens_of,
    write_problems,
    writer_of,
)
from tests.unit.training.test_models import context
from w2s_cli.data.artifacts.completions import read_completions
from w2s_cli.errors import UserError
from w2s_cli.stages import generate
from w2s_cli.store.context import Stopped
from w2s_cli.training.generation.completing import Writer
from w2s_cli.training.generation.vllm import _finish


def test_the_texts_are_the_models_own_and_their_figures_are_told(tmp_path: Path, base: Path, rows: Path) -> None:
    metrics = run_generate(tmp_path / "out", rows, base)
    writer = writer_of(base, most=10)
    expected = [generated(writer, ids.tolist()) for ids in tokens_of(writer, PROMPTS)]
    found = texts_of(tmp_path / "out")
    decoded = [writer.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in expected]
    assert [row["text"] for row in found] == decoded
    assert [row["tokens"] for row in found] == [len(ids) for ids in expected]
    assert [(row["id"], row["sample"]) for row in found] == [(f"r{number}", 0) for number in range(len(PROMPTS))]
    assert metrics["tokens"] == sum(map(len, expected))
    assert sum(metrics["finish"].values()) == metrics["texts"] == metrics["rows"] == len(PROMPTS)
    assert (metrics["truncated"]["rows"], metrics["truncated"]["limit"], metrics["empty"]) == (0, 54, 0)
    assert metrics["shots"] == {"0": len(PROMPTS)}


@pytest.mark.parametrize("changed", [{}, SAMPLED])
def test_shards_order_and_budget_change_no_text(
    tmp_path: Path, base: Path, rows: Path, changed: dict[str, Any]
) -> None:
    run_generate(tmp_path / "whole", rows, base, **changed)
    whole = texts_of(tmp_path / "whole")
    run_generate(tmp_path / "shards", rows, base, **changed, shard_texts=7)
    assert texts_of(tmp_path / "shards") == whole
    run_generate(tmp_path / "small", rows, base, {"eval_tokens": 40}, **changed)
    assert texts_of(tmp_path / "small") == whole
    table = pq.read_table(rows / "rows.parquet").to_pylist()[::-1]
    other = write_problems(tmp_path / "other", [row["prompt"] for row in table])
    names = pq.read_table(other / "rows.parquet").set_column(0, "id", [[row["id"] for row in table]])
    pq.write_table(names, other / "rows.parquet")
    run_generate(tmp_path / "backwards", other, base, **changed)
    assert sorted(texts_of(tmp_path / "backwards"), key=str) == sorted(whole, key=str)


def test_a_batch_has_no_more_tokens_than_the_launcher_gives(
    tmp_path: Path, base: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[int, int]] = []
    write = Writer.write

    def noting(self: Writer, units: Any, head: Any, watch: Any) -> Any:
        batches.append((len(units), len(head.ids) + max(len(unit.prompt) for unit in units) + self.most))
        return write(self, units, head, watch)

    monkeypatch.setattr(Writer, "write", noting)
    for tokens in (100, 40, 1):
        batches.clear()
        run_generate(tmp_path / str(tokens), rows, base, {"eval_tokens": tokens}, **SAMPLED)
        assert all(count * longest <= tokens or count == 1 for count, longest in batches)
        assert sum(count for count, _ in batches) == 3 * len(PROMPTS)
        assert (max(count for count, _ in batches) > 1) == (tokens > 20)


@pytest.mark.slow
def test_out_of_memory_halves_the_batch_and_changes_no_text(
    tmp_path: Path, base: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_generate(tmp_path / "whole", rows, base, **SAMPLED)
    write = Writer.write

    def failing(self: Writer, units: Any, head: Any, watch: Any) -> Any:
        if len(units) > 4:
            raise torch.OutOfMemoryError
        return write(self, units, head, watch)

    monkeypatch.setattr(Writer, "write", failing)
    run_generate(tmp_path / "halved", rows, base, **SAMPLED)
    assert texts_of(tmp_path / "halved") == texts_of(tmp_path / "whole")
    assert "out of memory: continuing with eval_tokens=" in (tmp_path / "halved" / "log.txt").read_text()


@pytest.mark.parametrize("point", ["generate.start", "generate.step:2"])
def test_killed_and_run_again_has_the_same_bytes(tmp_path: Path, base: Path, rows: Path, point: str) -> None:
    changed = {**SAMPLED, "shard_texts": 6}
    expected = run_generate(tmp_path / "one", rows, base, **changed)
    killed(lambda: run_generate(tmp_path / "two", rows, base, **changed), point, tmp_path)
    assert len(list((tmp_path / "two" / "work").glob("shard*"))) == (point != "generate.start")
    assert run_generate(tmp_path / "two", rows, base, **changed) == expected
    one, two = (tmp_path / name / "result" / "completions.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_stage_that_is_asked_to_stop_does_so_between_two_tokens(tmp_path: Path, base: Path, rows: Path) -> None:
    ctx = context(tmp_path / "out", model_path=str(base))
    asked = iter([False] * 4 + [True] * 9)
    ctx.stop_requested = lambda: next(asked)  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        generate.run(generate_params(), {"rows": rows}, ctx)


def test_stop_strings_are_no_part_of_the_text_and_texts_may_be_empty(tmp_path: Path, base: Path, rows: Path) -> None:
    run_generate(tmp_path / "plain", rows, base)
    plain = texts_of(tmp_path / "plain")
    letters = sorted({row["text"][3] for row in plain[:2]})
    metrics = run_generate(tmp_path / "out", rows, base, stop=letters)
    for row, before in zip(texts_of(tmp_path / "out"), plain, strict=True):
        hit = any(letter in before["text"] for letter in letters)
        assert (row["finish"] == "stop") == hit
        assert not any(letter in row["text"] for letter in letters)
        assert before["text"].startswith(row["text"])
        assert row["tokens"] <= before["tokens"]
    assert metrics["finish"]["stop"] >= 2
    firsts = sorted({row["text"][0] for row in plain if row["text"]})
    nothing = run_generate(tmp_path / "empty", rows, base, stop=firsts)
    assert nothing["empty_texts"] == len(PROMPTS)
    about = {"model": "m", "role": "student", "rows": "test"}
    assert "all 8 texts of m (student) on test are empty" in generate.cautions(nothing, generate_params(), about)[0]


def test_the_end_tokens_of_the_models_generation_settings_end_a_text(tmp_path: Path, base: Path, rows: Path) -> None:
    run_generate(tmp_path / "plain", rows, base)
    own = shutil.copytree(base, tmp_path / "own")
    writer = writer_of(base)
    often = generated(writer, tokens_of(writer, PROMPTS)[0].tolist())[2]
    settings = json.loads((own / "generation_config.json").read_text())
    (own / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [256, often]}))
    metrics = run_generate(tmp_path / "out", rows, own)
    assert metrics["finish"]["end"] >= 1
    first = texts_of(tmp_path / "out")[0]
    assert (first["finish"], first["tokens"]) == ("end", 2)
    (own / "generation_config.json").write_text("{")  # a damaged file counts as none
    run_generate(tmp_path / "damaged", rows, own)
    assert texts_of(tmp_path / "damaged") == texts_of(tmp_path / "plain")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_new_tokens": 64}, r"holds 64 tokens, and a text may have 64 \(generation\.max_new_tokens\): no room is left"),
        ({"max_new_tokens": 100}, "no room is left for a prompt; set fewer new tokens, or raise the model's max_length"),
        ({"engine": "vllm"}, r"generation\.engine=vllm needs the package vllm .*; engine=w2s needs no further package"),
        ({"truncation": "middle"}, "truncation=middle is unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, base: Path, rows: Path, changed: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # as where it is not installed
    with pytest.raises(UserError, match=message):
        run_generate(tmp_path / "out", rows, base, **changed)


def test_prompts_of_no_token_are_refused_if_all_are_and_read_as_an_end_token_if_some(
    tmp_path: Path, base: Path
) -> None:
    empty = write_problems(tmp_path / "rows", ["", ""])
    with pytest.raises(UserError, match=r"rows\.parquet: no prompt has a token that this model knows"):
        run_generate(tmp_path / "out", empty, base)
    mixed = write_problems(tmp_path / "mixed", ["", *PROMPTS])
    examples = write_problems(tmp_path / "examples", ["e"], solution=["f"])
    how = {"demonstrations": {"shots": 1, "separator": ";"}}
    metrics = run_generate(tmp_path / "some", mixed, base, **how, inputs={"examples": examples})
    assert metrics["empty"] == 1
    writer = writer_of(base, most=10)
    found = texts_of(tmp_path / "some")
    assert found[0]["tokens"] == len(generated(writer, [256]))
    expected = generated(writer, tokens_of(writer, ["e f;" + PROMPTS[0]])[0].tolist())
    assert found[1]["tokens"] == len(expected)


def test_weights_that_are_not_finite_are_told_with_the_row(tmp_path: Path, base: Path, rows: Path) -> None:
    broken = shutil.copytree(base, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = np.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    for name, changed in {"greedy": {}, "drawn": SAMPLED}.items():
        with pytest.raises(UserError, match=r"logits that are not finite for row r0 of .*: set its precision=fp32"):
            run_generate(tmp_path / name, rows, broken, **changed)


def test_an_encoder_and_a_foreign_tokenizer_are_refused(tmp_path: Path, base: Path, rows: Path) -> None:
    with pytest.raises(UserError, match="not a causal language model"):
        run_generate(tmp_path / "bert", rows, make_model(tmp_path / "base", "bert"))
    larger = make_model(tmp_path / "larger", "llama", vocab_size=100)
    with pytest.raises(UserError, match="it is the tokenizer of another model"):
        run_generate(tmp_path / "foreign", rows, larger)


def test_a_model_whose_rows_go_alone_writes_the_same_files(tmp_path: Path, rows: Path) -> None:
    bloom = make_model(tmp_path / "bloom", "bloom", initializer_range=0.5)
    metrics = run_generate(tmp_path / "out", rows, bloom, **SAMPLED)
    assert "rows one by one: bloom" in (tmp_path / "out" / "log.txt").read_text()
    assert metrics["texts"] == 3 * len(PROMPTS)
    read = read_completions(tmp_path / "out" / "result")
    assert len(set(read.texts)) > 20


def test_vllms_reasons_are_ours() -> None:
    class Output:
        def __init__(self, finish_reason: str, stop_reason: object) -> None:
            self.finish_reason, self.stop_reason = finish_reason, stop_reason

    found = [_finish(Output(*reason)) for reason in (("length", None), ("stop", None), ("stop", 2), ("stop", "\n"))]
    assert found == ["length", "end", "end", "stop"]
