"""data.drop_overlap: a text that stands in several pools stays in one, and the test rows stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.data_sets import local, make, numbered, write_rows
from w2s_cli.data.check import check
from w2s_cli.data.recipes import rows_params
from w2s_cli.errors import UserError
from w2s_cli.pipeline.kinds import find

POOLS = ("test", "strong_val", "weak_val", "strong_train", "weak_train")
SHARES = {"test": 0.2, "weak_train": 0.3, "weak_val": 0.1, "strong_val": 0.1, "strong_train": 0.3}
Rows = list[dict[str, Any]]


def made(folder: Path, data: Mapping[str, Any], seed: int = 0) -> dict[str, tuple[Rows, dict[str, Any]]]:
    return {pool: make(folder / pool, data, pool, seed) for pool in POOLS if data["pools"].get(pool) or pool == "test"}


def repeated(count: int, **fields: Any) -> Rows:
    """Rows of which each text stands twice, in other cases and with other spaces."""
    ways = (str.lower, str.upper, lambda text: f" {text}", lambda text: text.replace(" ", "  "))
    return numbered(count, text=lambda i: ways[i % 4](f"the text {i // 2}"), label=lambda i: i // 2 % 2, **fields)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_text_of_several_pools_stays_in_the_first_of_test_validation_student_and_weak_supervisor(
    tmp_path: Path, seed: int
) -> None:
    data = local(write_rows(tmp_path / "a.jsonl", repeated(800)), pools=SHARES)
    before = made(tmp_path / "before", data, seed)
    after = made(tmp_path / "after", {**data, "drop_overlap": True}, seed)
    assert after["test"] == before["test"]
    kept: set[str] = set()
    for pool in POOLS:
        texts = {row["id"]: " ".join(row["text"].lower().split()) for row in before[pool][0]}
        assert [row["id"] for row in after[pool][0]] == [name for name, text in texts.items() if text not in kept]
        assert sum(after[pool][1]["dropped"].values()) == len(texts) - len(after[pool][0])
        kept |= set(texts.values())
    assert set(after["weak_train"][1]["dropped"]) == {f"with a text of {pool}" for pool in POOLS[:-1]}
    tables = {pool: pa.Table.from_pylist(rows) for pool, (rows, _) in after.items()}
    assert not [where for where in check(tables, ["0", "1"])["duplicates"] if " in " in where]


def test_rows_with_a_text_of_the_own_test_split_are_dropped_whatever_the_limit_of_test(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "train.jsonl", numbered(100))
    write_rows(tmp_path / "data" / "test.jsonl", numbered(40, text=lambda i: f"TEXT {i}"))
    data = local(
        tmp_path / "data", splits={"train": "train", "test": "test"}, limits={"test": 10}, id="id", drop_overlap=True
    )
    pools = made(tmp_path / "made", data)
    assert pools["test"][1]["rows"] == 10
    ids = {row["id"] for pool in ("weak_train", "strong_train") for row in pools[pool][0]}
    assert ids == {f"r{n}" for n in range(40, 100)}, "an id that both splits have is no group"


def test_a_pair_in_the_other_order_is_dropped(tmp_path: Path) -> None:
    def pairs(turned: bool) -> Rows:
        a, b = ("b", "a") if turned else ("a", "b")
        return numbered(60, **{a: lambda i: f"one {i}", b: lambda i: f"two {i}"})

    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "train.jsonl", pairs(turned=False))
    write_rows(tmp_path / "data" / "test.jsonl", pairs(turned=True)[:30])
    changes = {"splits": {"train": "train", "test": "test"}, "text": None, "template": "{a}", "second": "{b}"}
    pools = made(tmp_path / "made", local(tmp_path / "data", drop_overlap=True, **changes))
    assert sum(metrics["rows"] for pool, (_, metrics) in pools.items() if pool != "test") == 30


def test_a_group_of_the_own_test_split_is_dropped_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "train.jsonl", numbered(100, question=lambda i: f"q{i // 5}"))
    write_rows(
        tmp_path / "data" / "test.jsonl", numbered(20, text=lambda i: f"new {i}", question=lambda i: f"q{i % 4}")
    )
    data = local(tmp_path / "data", splits={"train": "train", "test": "test"}, group=["question"])
    sizes = {
        drop: [metrics["dropped"] for _, metrics in made(tmp_path / str(drop), {**data, "drop_overlap": drop}).values()]
        for drop in (False, True)
    }
    assert sizes[False] == [{}, {}, {}]
    assert sum(dropped.get("with a group of test", 0) for dropped in sizes[True]) == 20


def test_a_pool_that_overlap_leaves_empty_says_so(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        write_rows(tmp_path / "data" / f"{split}.jsonl", numbered(40))
    data = local(tmp_path / "data", splits={"train": "train", "test": "test"}, drop_overlap=True)
    with pytest.raises(UserError, match=r"strong_train .* is empty: \d+ with a text of test\."):
        make(tmp_path / "made", data, "strong_train")


def test_the_key_of_a_pool_changes_only_if_rows_may_be_dropped_from_it() -> None:
    def identity(pool: str, **changes: Any) -> dict[str, Any]:
        data = local(Path("a.jsonl"), **changes)
        return find("rows").identity_params(rows_params(data, pool=pool, source={"sha256": "0"}))

    assert "overlap" not in identity("weak_train")
    assert identity("test", drop_overlap=True) == identity("test")
    assert identity("strong_train", drop_overlap=True) != identity("strong_train")
    one, other = (identity("weak_train", drop_overlap=True, limits={"test": limit}) for limit in (None, 9))
    assert one == other
    assert one["overlap"] == [
        {"pool": "test", "split": "train", "share": [0.0, 0.2], "seed": 0},
        {"pool": "strong_train", "split": "train", "share": [0.6, 1.0], "seed": 0},
    ]
