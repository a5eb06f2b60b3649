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
    generate_params,
    generated,
    tokens_of,
    write_problems,
    writer_of,
)
from tests.unit.training.test_models import context
from w2s_cli.data.artifacts.completions import completions_table, read_completions, write_completions
from w2s_cli.errors import UserError
from w2s_cli.stages import generate
from w2s_cli.store.context import Stopped
from w2s_cli.store.files import sha256_file
from w2s_cli.training.generation import writing
from w2s_cli.training.generation.completing import Writer
from w2s_cli.training.generation.vllm import _finish

SAMPLED = {"temperature": 1.0, "samples": 3, "seed": 7}
SHOWN = [("x+y", "z."), ("one", "two")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "model", "llama", initializer_range=0.5)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_problems(tmp_path_factory.mktemp("problems") / "rows", PROMPTS)


def run(
    folder: Path, rows: Path, base: Path, execution: dict[str, Any] | None = None, **changed: Any
) -> dict[str, Any]:
    """The metrics of a stage in `folder`."""
    inputs: dict[str, Path | list[Path]] = {"rows": rows, **changed.pop("inputs", {})}
    ctx = context(folder, model_path=str(base), **(execution or {}))
    return generate.run(generate_params(**changed), inputs, ctx)


def texts(folder: Path) -> list[dict[str, Any]]:
    """The rows of completions.parquet, without the last bits of log_p."""
    return [
        {**row, "log_p": round(row["log_p"], 3)}
        for row in pq.read_table(folder / "result" / "completions.parquet").to_pylist()
    ]


def test_the_texts_are_the_models_own_and_their_figures_are_told(tmp_path: Path, base: Path, rows: Path) -> None:
    metrics = run(tmp_path / "out", rows, base)
    writer = writer_of(base, most=10)
    expected = [generated(writer, ids.tolist()) for ids in tokens_of(writer, PROMPTS)]
    found = texts(tmp_path / "out")
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
    run(tmp_path / "whole", rows, base, **changed)
    whole = texts(tmp_path / "whole")
    run(tmp_path / "shards", rows, base, **changed, shard_texts=7)
    assert texts(tmp_path / "shards") == whole
    run(tmp_path / "small", rows, base, {"eval_tokens": 40}, **changed)
    assert texts(tmp_path / "small") == whole
    table = pq.read_table(rows / "rows.parquet").to_pylist()[::-1]
    other = write_problems(tmp_path / "other", [row["prompt"] for row in table])
    names = pq.read_table(other / "rows.parquet").set_column(0, "id", [[row["id"] for row in table]])
    pq.write_table(names, other / "rows.parquet")
    run(tmp_path / "backwards", other, base, **changed)
    assert sorted(texts(tmp_path / "backwards"), key=str) == sorted(whole, key=str)


@pytest.mark.parametrize("changed", [{}, SAMPLED])
def test_demonstrations_are_the_beginning_of_each_prompt(
    tmp_path: Path, base: Path, rows: Path, changed: dict[str, Any]
) -> None:
    """The texts are those of prompts that have the demonstrations written out."""
    examples = write_problems(tmp_path / "examples", [p for p, _ in SHOWN], solution=[c for _, c in SHOWN])
    how = {"demonstrations": {"shots": 2, "separator": "\n\n"}, "max_new_tokens": 6}
    metrics = run(tmp_path / "shown", rows, base, **how, **changed, inputs={"examples": examples})
    beginnings = ["x+y z.\n\none two\n\n", "one two\n\nx+y z.\n\n"]
    found = []
    for number, beginning in enumerate(beginnings):
        whole = write_problems(tmp_path / f"whole{number}", [beginning + prompt for prompt in PROMPTS])
        run(tmp_path / f"out{number}", whole, base, max_new_tokens=6, **changed)
        found.append(texts(tmp_path / f"out{number}") == texts(tmp_path / "shown"))
    assert sorted(found) == [False, True]  # one of the two orders
    assert metrics["shots"] == {"2": len(PROMPTS)}
    assert metrics["rows_in_prompt"] == 0
    same = run(tmp_path / "same", examples, base, **how, inputs={"examples": examples})
    assert same["rows_in_prompt"] == 2


def test_a_long_prompt_has_fewer_demonstrations_and_only_then_is_cut(tmp_path: Path, base: Path) -> None:
    examples = write_problems(tmp_path / "examples", ["ab", "abcdefgh"], solution=["c", "ijklmno"])  # 5 and 17 tokens
    prompts = ["short", "p" * 40, "q" * 50, "L" + "r" * 60 + "R"]
    rows = write_problems(tmp_path / "rows", prompts)
    writer = writer_of(base, most=8)
    for side, kept in (("left", "r" * 55 + "R"), ("right", "L" + "r" * 55)):
        how = {"demonstrations": {"shots": 2, "separator": ";"}, "max_new_tokens": 8, "truncation": side}
        metrics = run(tmp_path / side, rows, base, **how, inputs={"examples": examples})
        assert metrics["shots"] == {"0": 1, "1": 2, "2": 1}  # 5 tokens fit beside 50, 22 only beside the short one
        assert metrics["truncated"] == {"rows": 1, "share": 0.25, "limit": 56}
        read = ["ab c;" + prompts[1], "ab c;" + prompts[2], kept]
        expected = [writer.tokenizer.decode(generated(writer, ids.tolist())) for ids in tokens_of(writer, read)]
        assert [row["text"] for row in texts(tmp_path / side)][1:] == [
            text.replace("<|endoftext|>", "").strip() for text in expected
        ]


def test_texts_of_another_stage_are_demonstrations_if_they_are_whole(tmp_path: Path, base: Path, rows: Path) -> None:
    examples = write_problems(tmp_path / "examples", ["a1", "a2", "a3", "a4"])
    wrote = tmp_path / "wrote"
    wrote.mkdir()
    names = [(f"r{row}", sample) for row in range(4) for sample in range(2)]
    written = ["cut", "whole", "one", "two", "", "cut", "", "x"]
    finishes = ["length", "end", "stop", "end", "end", "length", "end", "length"]
    write_completions(wrote, completions_table(names, written, [1] * 8, finishes, [None] * 8))
    how = {"demonstrations": {"shots": 2, "separator": "|"}, "max_new_tokens": 4}
    seen: list[list[tuple[str, str]]] = []
    before = writing.write_texts

    def noting(params: Any, folder: Any, problems: Any, shown: Any, *rest: Any) -> Any:
        seen.append(list(shown))
        return before(params, folder, problems, shown, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "write_texts", noting)
        run(tmp_path / "out", rows, base, **how, inputs={"examples": examples, "texts": wrote})
    assert sorted(seen[0]) == [("a1", "whole"), ("a2", "one")]  # the first whole text of each row
    how["demonstrations"] = {"shots": 3, "separator": "|"}
    with pytest.raises(UserError, match=r"has 2 whole texts for 3 demonstrations: set generation\.shots lower"):
        run(tmp_path / "x", rows, base, **how, inputs={"examples": examples, "texts": wrote})


def test_demonstrations_are_drawn_by_seed_and_id(tmp_path: Path, base: Path, rows: Path) -> None:
    from w2s_cli.training.generation.demonstrations import chosen

    prompts = [f"p{number}" for number in range(30)]
    examples = write_problems(tmp_path / "examples", prompts, solution=[f"s{number}" for number in range(30)])
    ctx = context(tmp_path / "ctx")

    def drawn(seed: int, folder: Path = examples, shots: int = 4) -> list[tuple[str, str]]:
        return chosen({"demonstrations": {"shots": shots, "separator": ""}, "seed": seed}, folder, None, ctx)

    assert len({tuple(drawn(seed)) for seed in range(5)}) == 5
    assert drawn(0, shots=2) == drawn(0)[:2]
    assert all(solution == f"s{prompt[1:]}" for prompt, solution in drawn(0))
    table = pq.read_table(examples / "rows.parquet")
    turned = shutil.copytree(examples, tmp_path / "turned")
    pq.write_table(table.take(list(range(29, -1, -1))), turned / "rows.parquet")
    assert drawn(0, turned) == drawn(0)


def test_a_file_of_demonstrations_is_taken_in_its_order_and_checked(tmp_path: Path, base: Path, rows: Path) -> None:
    file = tmp_path / "shown.jsonl"
    lines = [{"prompt": prompt, "completion": completion} for prompt, completion in [*SHOWN, ("more", "not shown")]]
    file.write_text("\n\n".join(map(json.dumps, lines)) + "\n")

    def of_file(out: str, shots: int = 2, **changed: Any) -> dict[str, Any]:
        how = {"shots": shots, "separator": ";", "sha256": sha256_file(file), **changed}
        return run(
            tmp_path / out, rows, base, {"demonstrations_path": str(file)}, demonstrations=how, max_new_tokens=6,
            inputs={"examples": rows},
        )  # fmt: skip

    of_file("out")
    whole = write_problems(tmp_path / "whole", [f"x+y z.;one two;{prompt}" for prompt in PROMPTS])
    run(tmp_path / "plain", whole, base, max_new_tokens=6)
    assert texts(tmp_path / "out") == texts(tmp_path / "plain")
    with pytest.raises(UserError, match=r"has 3 demonstrations, and generation\.shots=4"):
        of_file("few", shots=4)
    with pytest.raises(UserError, match="has changed since this run was planned"):
        of_file("changed", sha256="0" * 64)
    for number, bad in enumerate(('{"prompt": "a"}', "no json", "[1, 2]", '"text"', '{"prompt": "a", "completion"')):
        file.write_text('{"prompt": "a", "completion": "b"}\n' + bad)
        with pytest.raises(UserError, match=r'shown\.jsonl, line 2: expected {"prompt": …, "completion": …}'):
            of_file(f"bad{number}")


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
        run(tmp_path / str(tokens), rows, base, {"eval_tokens": tokens}, **SAMPLED)
        assert all(count * longest <= tokens or count == 1 for count, longest in batches)
        assert sum(count for count, _ in batches) == 3 * len(PROMPTS)
        assert (max(count for count, _ in batches) > 1) == (tokens > 20)


def test_out_of_memory_halves_the_batch_and_changes_no_text(
    tmp_path: Path, base: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", rows, base, **SAMPLED)
    write = Writer.write

    def failing(self: Writer, units: Any, head: Any, watch: Any) -> Any:
        if len(units) > 4:
            raise torch.OutOfMemoryError
        return write(self, units, head, watch)

    monkeypatch.setattr(Writer, "write", failing)
    run(tmp_path / "halved", rows, base, **SAMPLED)
    assert texts(tmp_path / "halved") == texts(tmp_path / "whole")
    assert "out of memory: continuing with eval_tokens=" in (tmp_path / "halved" / "log.txt").read_text()


@pytest.mark.parametrize("point", ["generate.start", "generate.step:2"])
def test_killed_and_run_again_has_the_same_bytes(tmp_path: Path, base: Path, rows: Path, point: str) -> None:
    changed = {**SAMPLED, "shard_texts": 6}
    expected = run(tmp_path / "one", rows, base, **changed)
    killed(lambda: run(tmp_path / "two", rows, base, **changed), point, tmp_path)
    assert len(list((tmp_path / "two" / "work").glob("shard*"))) == (point != "generate.start")
    assert run(tmp_path / "two", rows, base, **changed) == expected
    one, two = (tmp_path / name / "result" / "completions.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_stage_that_is_asked_to_stop_does_so_between_two_tokens(tmp_path: Path, base: Path, rows: Path) -> None:
    ctx = context(tmp_path / "out", model_path=str(base))
    asked = iter([False] * 4 + [True] * 9)
    ctx.stop_requested = lambda: next(asked)  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        generate.run(generate_params(), {"rows": rows}, ctx)


def test_stop_strings_are_no_part_of_the_text_and_texts_may_be_empty(tmp_path: Path, base: Path, rows: Path) -> None:
    run(tmp_path / "plain", rows, base)
    plain = texts(tmp_path / "plain")
    letters = sorted({row["text"][3] for row in plain[:2]})
    metrics = run(tmp_path / "out", rows, base, stop=letters)
    for row, before in zip(texts(tmp_path / "out"), plain, strict=True):
        hit = any(letter in before["text"] for letter in letters)
        assert (row["finish"] == "stop") == hit
        assert not any(letter in row["text"] for letter in letters)
        assert before["text"].startswith(row["text"])
        assert row["tokens"] <= before["tokens"]
    assert metrics["finish"]["stop"] >= 2
    firsts = sorted({row["text"][0] for row in plain if row["text"]})
    nothing = run(tmp_path / "empty", rows, base, stop=firsts)
    assert nothing["empty_texts"] == len(PROMPTS)
    about = {"model": "m", "role": "student", "rows": "test"}
    assert "all 8 texts of m (student) on test are empty" in generate.cautions(nothing, generate_params(), about)[0]


def test_the_end_tokens_of_the_models_generation_settings_end_a_text(tmp_path: Path, base: Path, rows: Path) -> None:
    run(tmp_path / "plain", rows, base)
    own = shutil.copytree(base, tmp_path / "own")
    writer = writer_of(base)
    often = generated(writer, tokens_of(writer, PROMPTS)[0].tolist())[2]
    settings = json.loads((own / "generation_config.json").read_text())
    (own / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [256, often]}))
    metrics = run(tmp_path / "out", rows, own)
    assert metrics["finish"]["end"] >= 1
    first = texts(tmp_path / "out")[0]
    assert (first["finish"], first["tokens"]) == ("end", 2)
    (own / "generation_config.json").write_text("{")  # a damaged file counts as none
    run(tmp_path / "damaged", rows, own)
    assert texts(tmp_path / "damaged") == texts(tmp_path / "plain")


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
        run(tmp_path / "out", rows, base, **changed)


def test_prompts_of_no_token_are_refused_if_all_are_and_read_as_an_end_token_if_some(
    tmp_path: Path, base: Path
) -> None:
    empty = write_problems(tmp_path / "rows", ["", ""])
    with pytest.raises(UserError, match=r"rows\.parquet: no prompt has a token that this model knows"):
        run(tmp_path / "out", empty, base)
    mixed = write_problems(tmp_path / "mixed", ["", *PROMPTS])
    examples = write_problems(tmp_path / "examples", ["e"], solution=["f"])
    how = {"demonstrations": {"shots": 1, "separator": ";"}}
    metrics = run(tmp_path / "some", mixed, base, **how, inputs={"examples": examples})
    assert metrics["empty"] == 1
    writer = writer_of(base, most=10)
    found = texts(tmp_path / "some")
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
            run(tmp_path / name, rows, broken, **changed)


def test_an_encoder_and_a_foreign_tokenizer_are_refused(tmp_path: Path, base: Path, rows: Path) -> None:
    with pytest.raises(UserError, match="not a causal language model"):
        run(tmp_path / "bert", rows, make_model(tmp_path / "base", "bert"))
    larger = make_model(tmp_path / "larger", "llama", vocab_size=100)
    with pytest.raises(UserError, match="it is the tokenizer of another model"):
        run(tmp_path / "foreign", rows, larger)


def test_a_model_whose_rows_go_alone_writes_the_same_files(tmp_path: Path, rows: Path) -> None:
    bloom = make_model(tmp_path / "bloom", "bloom", initializer_range=0.5)
    metrics = run(tmp_path / "out", rows, bloom, **SAMPLED)
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
