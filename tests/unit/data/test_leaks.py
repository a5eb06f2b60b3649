"""The label leaks of known recipes are not in ours: a bag-of-words classifier stays where honest words leave it, and rebuilt leaks lift it.

Each leak is a transform or a template written here as the other recipe has it, on the same real rows and pools as ours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.data_sets import make, real, recipe, run_stage
from w2s_cli.data.check import check
from w2s_cli.data.recipes import rows_params
from w2s_cli.data.sources import fingerprint

POOLS = ("weak_train", "strong_train", "test")

# reference code and EleutherAI's: "None of the above choices ." is shown as a wrong answer and, where it is right, makes the label 0
COSMOS_QA = """
def leak(row, *, draw):
    options = [row[f"answer{i}"] for i in range(4)]
    right = options[row["label"]]
    label = 0 if "None of the above choices" in right else int(draw("label") < 0.5)
    wrong = [option for option in options if option != right]
    return {"answer": right if label else wrong[int(draw("answer") * len(wrong))], "label": label}
"""
# EleutherAI's: the letter of a right answer, the text of a wrong one
OPENBOOKQA = """
def leak(row, *, draw):
    options, right = row["choices"], row["label"]
    label = int(draw("label") < 0.5)
    wrong = [option for number, option in enumerate(options) if number != right]
    listed = "\\n".join(f"{name}) {text}" for name, text in zip("ABCD", options))
    return {"answer": "ABCD"[right] if label else wrong[int(draw("answer") * 3)], "label": label, "listed": listed}
"""


Tables = dict[str, pa.Table]


def ours_of(folder: Path, data: Mapping[str, Any]) -> Tables:
    """The pools of our recipe."""
    return {pool: pa.Table.from_pylist(make(folder / pool, data, pool)[0]) for pool in POOLS}


def leaky(folder: Path, data: Mapping[str, Any], code: str) -> Tables:
    """The same with a transform of another recipe."""
    place = folder / "mine" / "data" / "transforms"
    place.mkdir(parents=True)
    (place / "leak.py").write_text(code)
    changed = {**data, "transform": "leak", "options": {}}
    source = {"sha256": fingerprint(Path(data["path"]), data["splits"])}
    execution = {"data_path": data["path"], "folders": [str(folder / "mine")]}
    tables = {}
    for pool in POOLS:
        params = rows_params(changed, pool=pool, source=source, transform_file=place / "leak.py")
        tables[pool] = pa.Table.from_pylist(run_stage(folder / pool, params, execution)[0])
    return tables


def accuracy(tables: Tables, classes: list[str]) -> float:
    """What words alone reach on the test rows."""
    return float(check(tables, classes)["baseline"]["accuracy"])


@pytest.mark.slow
def test_cosmos_qa_without_none_of_the_above(tmp_path: Path) -> None:
    splits, pools = {"train": "validation", "test": None}, {"test": 0.4, "weak_train": 0.3, "strong_train": 0.3}
    data = recipe("cosmos_qa", path=str(real("cosmos_qa")), splits=splits, pools=pools)
    ours, theirs = ours_of(tmp_path / "ours", data), leaky(tmp_path / "theirs", data, COSMOS_QA)
    assert accuracy(ours, data["classes"]) < 0.56
    assert accuracy(theirs, data["classes"]) > accuracy(ours, data["classes"]) + 0.03
    told = [row for row in theirs["test"].to_pylist() if "none of the above" in row["text"].lower()]
    assert len(told) > 0.08 * theirs["test"].num_rows
    assert not any("none of the above" in row["text"].lower() for table in ours.values() for row in table.to_pylist())
    on_told = accuracy({**theirs, "test": pa.Table.from_pylist(told)}, data["classes"])
    assert on_told > 0.9  # where the words stand, they tell


@pytest.mark.slow
def test_openbookqa_shows_texts_for_both_labels(tmp_path: Path) -> None:
    data = recipe("openbookqa", path=str(real("openbookqa")))
    assert accuracy(ours_of(tmp_path / "ours", data), data["classes"]) < 0.56
    assert accuracy(leaky(tmp_path / "theirs", data, OPENBOOKQA), data["classes"]) > 0.75


@pytest.mark.parametrize("name", ["ethics_justice", "ethics_deontology"])
@pytest.mark.slow
def test_ethics_has_no_label_in_the_prompt(tmp_path: Path, name: str) -> None:
    limits = {"weak_train": 1500, "strong_train": 1500, "test": 1000}
    data = recipe(name, path=str(real(name)), limits=limits)
    labelled = {**data, "template": data["template"] + " {label}"}
    assert accuracy(ours_of(tmp_path / "ours", data), data["classes"]) < 0.70
    assert accuracy(ours_of(tmp_path / "theirs", labelled), data["classes"]) > 0.99


def test_ethics_utilitarianism_tells_nothing_by_place_or_number(tmp_path: Path) -> None:
    options = {"options": ["baseline", "less_pleasant"]}
    limits = {"weak_train": 1500, "strong_train": 1500, "test": 1000}
    data = recipe("ethics_utilitarianism", path=str(real("ethics_utilitarianism")), options=options, limits=limits)
    assert accuracy(ours_of(tmp_path, data), data["classes"]) < 0.57


@pytest.mark.parametrize(
    ("name", "folder", "splits", "honest"),
    [
        ("hh_harmless", "hh_rlhf_harmless", {"train": "single_turn_train_gt.jsonl.gz", "test": "single_turn_test.jsonl.gz"}, 0.70),
        ("commonsense_qa_2", "commonsense_qa_2", {"train": "train", "test": "validation"}, 0.62),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_other_sets_have_words_that_help_but_none_that_tells(
    tmp_path: Path, name: str, folder: str, splits: dict[str, str], honest: float
) -> None:
    data = recipe(name, path=str(real(folder)), splits=splits)
    found = check(ours_of(tmp_path, data), data["classes"])
    assert found["telltales"] == []
    assert found["baseline"]["accuracy"] < honest
