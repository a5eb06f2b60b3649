"""Rows of problems, whose answers are texts: prompt, answer, solution and level, without labels."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.data_sets import local, make, recipe, write_rows
from w2s_cli.data.artifacts.rows import read_problems
from w2s_cli.data.recipes import check_recipe
from w2s_cli.errors import UserError

ALL = {"weak_train": 1.0}
PARTS = {"text": None, "label": None, "prompt": "q", "answer": "a"}


def problems(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Rows with a question and an answer; a field's value may depend on the row's number."""
    return [
        {
            "q": f"{i} + 1 =",
            "a": f"{i + 1}",
            **{name: value(i) if callable(value) else value for name, value in fields.items()},
        }
        for i in range(count)
    ]


def own(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """data=local over these rows."""
    return local(write_rows(folder / "my.jsonl", rows), **{**PARTS, "pools": ALL, **changes})


def refusal(folder: Path, data: dict[str, Any]) -> str:
    """The message that refuses the data."""
    with pytest.raises(UserError) as refused:
        make(folder / "rows", data, "weak_train")
    return str(refused.value)


def test_problems_have_the_parts_that_are_named_and_no_label(tmp_path: Path) -> None:
    rows, metrics = make(tmp_path / "rows", own(tmp_path, problems(20)), "weak_train")
    assert len(rows) == 20
    assert set(rows[0]) == {"id", "group", "text", "prompt", "answer"}
    assert all(row["text"] == row["prompt"] for row in rows)
    assert (metrics["classes"], metrics["base_rates"], metrics["dropped"]) == ([], {}, {})
    assert "levels" not in metrics
    read = read_problems(tmp_path / "rows")
    assert read.need("answer") == [row["answer"] for row in rows]
    with pytest.raises(UserError, match="solution"):
        read.need("solution")


def test_templates_numbers_and_levels_become_texts(tmp_path: Path) -> None:
    data = own(
        tmp_path,
        problems(12, n=lambda i: i / 2, step=lambda i: 1 + i % 3),
        prompt="Q: {q}\nA:",
        answer="n",
        solution="{q} {a}. #### {a}",
        level="step",
    )
    rows, metrics = make(tmp_path / "rows", data, "weak_train")
    found = {row["prompt"]: row for row in rows}["Q: 3 + 1 =\nA:"]
    assert (found["answer"], found["solution"], found["level"]) == ("1.5", "3 + 1 = 4. #### 4", "1")
    assert metrics["levels"] == {"1": 4, "2": 4, "3": 4}


def test_unusable_problems_are_counted_by_their_reason(tmp_path: Path) -> None:
    rows = problems(40)
    rows[1]["q"] = rows[2]["q"] = " \n"
    rows[3]["a"] = rows[4]["a"] = rows[5]["a"] = None
    del rows[6]["a"]  # JSON lines may omit a null field
    rows[7]["a"] = ""
    rows[8]["a"] = ["9"]
    rows[9]["q"] = None
    made, metrics = make(tmp_path / "rows", own(tmp_path, rows), "weak_train")
    assert len(made) == 31
    assert metrics["dropped"] == {
        "whose answer is no text (column a)": 1,
        "without a prompt (column q)": 3,
        "without an answer (column a)": 5,
    }


def test_a_data_set_of_unusable_problems_is_refused_with_the_reasons(tmp_path: Path) -> None:
    said = refusal(tmp_path, own(tmp_path, problems(20, a=None)))
    assert 'the pool weak_train of data set "local" is empty: 20 without an answer (column a).' in said


@pytest.mark.parametrize("part", ["prompt", "answer", "solution", "level"])
def test_a_missing_column_is_named_with_its_field(tmp_path: Path, part: str) -> None:
    said = refusal(tmp_path, own(tmp_path, problems(5), **{part: "aa"}))
    assert '"aa"' in said
    assert f"data.{part}" in said
    assert f"data.{part}" in refusal(tmp_path, own(tmp_path, problems(5), **{part: "Q: {aa}"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": "a"}, "data.label belongs to texts with labels; give data.text or data.template too"),
        ({"classes": ["a", "b"]}, "data.classes belongs to texts with labels"),
        ({"second": "{q}"}, "data.second belongs to texts with labels"),
        ({"balanced": True}, "data.balanced makes classes alike, and these problems have no classes"),
        ({"prompt": None}, "data.answer is part of a problem: what does a model read? data.prompt=COLUMN"),
        ({"prompt": None, "answer": None, "solution": "a"}, "data.solution is part of a problem"),
        ({"prompt": None, "answer": None, "level": "a", "text": "q", "label": "a"}, "data.level is part of a problem"),
        ({"answer": " "}, 'data.answer " " names no column'),
        ({"prompt": "Q: {{q}}"}, 'data.prompt "Q: {{q}}" names no column'),
        ({"prompt": "Q: {q.x}"}, "is no plain column name"),
        ({"prompt": None, "answer": None}, "give either data.text=COLUMN or data.template"),
    ],
)
def test_fields_that_contradict_problems_are_refused_before_anything_is_read(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        check_recipe(recipe("local", path="none.jsonl", **{**PARTS, **changes}))
    assert said in str(refused.value)
    assert 'data set "local"' in str(refused.value) or "data.prompt" in str(refused.value)


def test_a_text_with_a_label_may_have_a_problem_too(tmp_path: Path) -> None:
    rows = problems(40, text=lambda i: f"is {i} even", label=lambda i: i % 2)
    made, metrics = make(tmp_path / "rows", own(tmp_path, rows, text="text", label="label"), "weak_train")
    assert {row["label"] for row in made} == {0, 1}
    assert all(row["text"].startswith("is ") and row["prompt"].endswith("=") for row in made)
    assert metrics["classes"] == ["0", "1"]


def test_problems_without_answers_are_prompts_alone(tmp_path: Path) -> None:
    made, _ = make(tmp_path / "rows", own(tmp_path, problems(10), answer=None), "weak_train")
    assert set(made[0]) == {"id", "group", "text", "prompt"}
    with pytest.raises(UserError, match="answer"):
        read_problems(tmp_path / "rows").need("answer")


def test_problems_of_one_group_and_of_one_prompt_are_kept_apart_as_texts_are(tmp_path: Path) -> None:
    rows = [*problems(60, g=lambda i: i // 3), *problems(60, g=lambda i: 100 + i)]  # every prompt twice
    data = own(
        tmp_path, rows, group=["g"], pools={"test": 0.2, "weak_train": 0.4, "strong_train": 0.4}, drop_overlap=True
    )
    made = {pool: make(tmp_path / pool, data, pool)[0] for pool in ("test", "weak_train", "strong_train")}
    for column in ("group", "prompt"):
        values = [{row[column] for row in rows} for rows in made.values()]
        assert len(set.union(*values)) == sum(map(len, values)), column


def test_the_bundled_problems_are_what_their_readme_says() -> None:
    import gzip
    import json

    from w2s_cli.paths import locate

    folder = locate("bundled:data/arithmetic")
    readme = (folder / "README.md").read_text()
    assert (folder / "LICENSE").read_text().startswith("MIT License")
    for split, count in (("train", 9000), ("test", 2400)):
        rows = [json.loads(line) for line in gzip.decompress((folder / f"{split}.jsonl.gz").read_bytes()).splitlines()]
        assert len(rows) == count
        assert f"{count:,}" in readme
        assert [row["id"] for row in rows] == [f"{split}-{number}" for number in range(count)]
        levels = [row["level"] for row in rows]
        assert {level: levels.count(level) for level in range(1, 7)} == dict.fromkeys(range(1, 7), count // 6)
        for row in rows:
            assert (
                set(row)
                == {"id", "parent", "question", "solution", "answer", "level"}
                == set(row) & set(readme.split("`"))
            )
            assert row["solution"].endswith(f"= {row['answer']}. #### {row['answer']}")
            assert row["solution"].count("=") == row["level"]


def test_the_columns_of_a_parquet_table_of_problems_are_read_by_their_names(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(problems(8)), tmp_path / "my.parquet")
    made, _ = make(
        tmp_path / "rows", recipe("local", path=str(tmp_path / "my.parquet"), **{**PARTS, "pools": ALL}), "weak_train"
    )
    assert len(made) == 8
