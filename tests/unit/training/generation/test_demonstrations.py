"""Demonstrations before a prompt: which, in which order, how many fit, and that they are no more than the beginning of the prompt."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.unit.training.generation.rows import (
    PROMPTS,
    SAMPLED,
    generated,
    run_generate,
    texts_of,
    tokens_of,
    write_problems,
    writer_of,
)
from tests.unit.training.test_models import context
from w2s_cli.data.artifacts.completions import completions_table, write_completions
from w2s_cli.errors import UserError
from w2s_cli.stages import generate
from w2s_cli.store.files import sha256_file
from w2s_cli.training.generation import writing

SHOWN = [("x+y", "z."), ("one", "two")]


@pytest.mark.parametrize("changed", [{}, SAMPLED])
def test_demonstrations_are_the_beginning_of_each_prompt(
    tmp_path: Path, base: Path, rows: Path, changed: dict[str, Any]
) -> None:
    """The texts are those of prompts that have the demonstrations written out."""
    examples = write_problems(tmp_path / "examples", [p for p, _ in SHOWN], solution=[c for _, c in SHOWN])
    how = {"demonstrations": {"shots": 2, "separator": "\n\n"}, "max_new_tokens": 6}
    metrics = run_generate(tmp_path / "shown", rows, base, **how, **changed, inputs={"examples": examples})
    beginnings = ["x+y z.\n\none two\n\n", "one two\n\nx+y z.\n\n"]
    found = []
    for number, beginning in enumerate(beginnings):
        whole = write_problems(tmp_path / f"whole{number}", [beginning + prompt for prompt in PROMPTS])
        run_generate(tmp_path / f"out{number}", whole, base, max_new_tokens=6, **changed)
        found.append(texts_of(tmp_path / f"out{number}") == texts_of(tmp_path / "shown"))
    assert sorted(found) == [False, True]  # one of the two orders
    assert metrics["shots"] == {"2": len(PROMPTS)}
    assert metrics["rows_in_prompt"] == 0
    same = run_generate(tmp_path / "same", examples, base, **how, inputs={"examples": examples})
    assert same["rows_in_prompt"] == 2


def test_an_instruction_stands_after_each_prompt_and_those_of_demonstrations(
    tmp_path: Path, base: Path, rows: Path
) -> None:
    examples = write_problems(tmp_path / "examples", [p for p, _ in SHOWN], solution=[c for _, c in SHOWN])
    how = {"demonstrations": {"shots": 2, "separator": "\n\n"}, "max_new_tokens": 6}
    run_generate(tmp_path / "plain", rows, base, instruction="be fair", max_new_tokens=6)
    whole = write_problems(tmp_path / "whole", [f"{prompt} be fair".lstrip() for prompt in PROMPTS])
    run_generate(tmp_path / "told", whole, base, max_new_tokens=6)
    assert texts_of(tmp_path / "told") == texts_of(tmp_path / "plain")
    shown = run_generate(tmp_path / "shown", rows, base, instruction="\nbe fair", **how, inputs={"examples": examples})
    assert shown["rows_in_prompt"] == 0
    told = write_problems(tmp_path / "t", [f"{p}\nbe fair" for p, _ in SHOWN], solution=[c for _, c in SHOWN])
    whole = write_problems(tmp_path / "w", [f"{prompt}\nbe fair" for prompt in PROMPTS])
    run_generate(tmp_path / "beside", whole, base, **how, inputs={"examples": told})
    assert texts_of(tmp_path / "beside") == texts_of(tmp_path / "shown")


def test_a_long_prompt_has_fewer_demonstrations_and_only_then_is_cut(tmp_path: Path, base: Path) -> None:
    examples = write_problems(tmp_path / "examples", ["ab", "abcdefgh"], solution=["c", "ijklmno"])  # 5 and 17 tokens
    prompts = ["short", "p" * 40, "q" * 50, "L" + "r" * 60 + "R"]
    rows = write_problems(tmp_path / "rows", prompts)
    writer = writer_of(base, most=8)
    for side, kept in (("left", "r" * 55 + "R"), ("right", "L" + "r" * 55)):
        how = {"demonstrations": {"shots": 2, "separator": ";"}, "max_new_tokens": 8, "truncation": side}
        metrics = run_generate(tmp_path / side, rows, base, **how, inputs={"examples": examples})
        assert metrics["shots"] == {"0": 1, "1": 2, "2": 1}  # 5 tokens fit beside 50, 22 only beside the short one
        assert metrics["truncated"] == {"rows": 1, "share": 0.25, "limit": 56}
        lines = generate.cautions(metrics, {**how, "max_length": 64}, dict.fromkeys(("model", "role", "rows"), "it"))
        said = "3 of 4 prompts of it (it) on it had no room for 2 demonstrations, 1 of them not for one"
        assert [said in line for line in lines].count(True) == 1
        read = ["ab c;" + prompts[1], "ab c;" + prompts[2], kept]
        expected = [writer.tokenizer.decode(generated(writer, ids.tolist())) for ids in tokens_of(writer, read)]
        assert [row["text"] for row in texts_of(tmp_path / side)][1:] == [
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
        run_generate(tmp_path / "out", rows, base, **how, inputs={"examples": examples, "texts": wrote})
    assert sorted(seen[0]) == [("a1", "whole"), ("a2", "one")]  # the first whole text of each row
    how["demonstrations"] = {"shots": 3, "separator": "|"}
    with pytest.raises(UserError, match=r"has 2 whole texts for 3 demonstrations: set generation\.shots lower"):
        run_generate(tmp_path / "x", rows, base, **how, inputs={"examples": examples, "texts": wrote})


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
        return run_generate(
            tmp_path / out, rows, base, {"demonstrations_path": str(file)}, demonstrations=how, max_new_tokens=6,
            inputs={"examples": rows},
        )  # fmt: skip

    of_file("out")
    whole = write_problems(tmp_path / "whole", [f"x+y z.;one two;{prompt}" for prompt in PROMPTS])
    run_generate(tmp_path / "plain", whole, base, max_new_tokens=6)
    assert texts_of(tmp_path / "out") == texts_of(tmp_path / "plain")
    with pytest.raises(UserError, match=r"has 3 demonstrations, and generation\.shots=4"):
        of_file("few", shots=4)
    with pytest.raises(UserError, match="has changed since this run was planned"):
        of_file("changed", sha256="0" * 64)
    for number, bad in enumerate(('{"prompt": "a"}', "no json", "[1, 2]", '"text"', '{"prompt": "a", "completion"')):
        file.write_text('{"prompt": "a", "completion": "b"}\n' + bad)
        with pytest.raises(
            UserError, match=r'shown\.jsonl, line 2: expected two texts, {"prompt": "…", "completion": "…"}'
        ):
            of_file(f"bad{number}")
