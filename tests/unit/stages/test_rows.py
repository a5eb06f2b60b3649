"""The rows stage: pools, drawn labels, groups, limits, balance, and what it refuses."""

import hashlib
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data_sets import local, make, numbered, read_gz, real, recipe, run_stage, write_rows
from tests.stage_files import context
from w2s_cli.config.schema import DataConfig
from w2s_cli.data.form import TRANSFORMS
from w2s_cli.data.pools import pool_order, shares
from w2s_cli.data.recipes import check_recipe, rows_params
from w2s_cli.data.sources import fingerprint
from w2s_cli.errors import UserError
from w2s_cli.paths import configs_folder
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.plugins import find_code
from w2s_cli.stages import rows as rows_stage
from w2s_cli.stages import solutions
from w2s_cli.statistics.draw import drawer, uniform
from w2s_cli.store.files import SEAL, read_json, write_json
from w2s_cli.store.store import Store

POOL_NAMES = ("test", "weak_train", "strong_train")


def test_pools_share_out_all_rows_once(tmp_path: Path) -> None:
    data = local(write_rows(tmp_path / "a.jsonl", numbered(400)))
    found = [row["id"] for pool in POOL_NAMES for row in make(tmp_path / pool, data, pool)[0]]
    assert sorted(found) == sorted(f"train-{i}" for i in range(400))


def test_pool_sizes_follow_the_fractions(tmp_path: Path) -> None:
    data = local(
        write_rows(tmp_path / "a.jsonl", numbered(4000)), pools={"test": 0.1, "weak_train": 0.3, "strong_train": 0.6}
    )
    sizes = {pool: make(tmp_path / pool, data, pool)[1]["rows"] for pool in POOL_NAMES}
    assert abs(sizes["test"] - 400) < 80
    assert abs(sizes["weak_train"] - 1200) < 120


def test_a_test_split_leaves_all_training_rows_to_the_training_pools(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split, count in (("train", 400), ("test", 30)):
        write_rows(tmp_path / "data" / f"{split}.jsonl", numbered(count))
    data = local(tmp_path / "data", splits={"train": "train", "test": "test"})
    sizes = {pool: make(tmp_path / "made" / pool, data, pool)[1]["rows"] for pool in POOL_NAMES}
    assert sizes["test"] == 30
    assert sizes["weak_train"] + sizes["strong_train"] == 400
    assert abs(sizes["weak_train"] - 200) < 40


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ({"test": 0.2, "weak_train": 0.4, "strong_train": 0.4}, {"weak_train": (0, 0.5), "strong_train": (0.5, 1)}),
        ({"test": 0.2, "weak_train": 0.2, "strong_train": 0.6}, {"weak_train": (0, 0.25), "strong_train": (0.25, 1)}),
        ({"test": 0.1, "weak_train": 0.3, "strong_train": 0.3}, {"weak_train": (0, 0.35), "strong_train": (0.35, 0.7)}),
        ({"test": 0.2, "weak_train": 0.5, "strong_train": 0.5}, {"weak_train": (0, 0.5), "strong_train": (0.5, 1)}),
        ({"test": 0.0, "weak_train": 0.3, "strong_train": 0.1}, {"weak_train": (0, 0.3), "strong_train": (0.3, 0.4)}),
        ({"test": 0.2}, {"weak_train": (0, 0), "strong_train": (0, 0)}),
    ],
)
def test_the_share_of_test_goes_to_the_other_pools_in_proportion_as_far_as_they_leave_it(
    fractions: dict[str, float], expected: dict[str, tuple[float, float]]
) -> None:
    dealt = shares(fractions, own_test=True)
    assert {pool: interval for pool, interval in dealt.items() if pool in expected} == expected
    assert "test" not in dealt


def test_order_of_the_file_changes_nothing_when_ids_are_named(tmp_path: Path) -> None:
    rows = numbered(300)
    shuffled = random.Random(1).sample(rows, len(rows))
    one = local(write_rows(tmp_path / "a.jsonl", rows), id="id")
    two = local(write_rows(tmp_path / "b.jsonl.gz", shuffled), id="id")
    for pool in POOL_NAMES:
        assert make(tmp_path / f"1{pool}", one, pool) == make(tmp_path / f"2{pool}", two, pool)


def test_drawn_labels_and_options_belong_to_the_row_not_to_the_order(tmp_path: Path) -> None:
    fields = {
        name: (lambda i, n=name: f"{n} {i}")
        for name in ("question", "correct_answer", "distractor1", "distractor2", "distractor3")
    }
    rows = numbered(200, **fields)
    data = recipe(
        "sciq",
        id="id",
        splits={"train": "train", "test": None},
        pools={"test": 0.2, "weak_train": 0.4, "strong_train": 0.4},
    )
    one = {**data, "path": str(write_rows(tmp_path / "a.jsonl", rows))}
    two = {
        **data,
        "path": str(write_rows(tmp_path / "b.jsonl", rows[::-1] + numbered(1, id=lambda i: "new", **fields))),
    }
    first, second = ({r["id"]: r for r in make(tmp_path / n, d, "weak_train")[0]} for n, d in (("1", one), ("2", two)))
    assert first == {name: row for name, row in second.items() if name != "new"}


def test_each_seed_draws_its_own_training_rows_and_labels_and_all_seeds_share_the_test_rows(tmp_path: Path) -> None:
    options = {"choices": ["right", "wrong"]}
    fields = {"right": lambda i: f"yes {i}", "wrong": lambda i: f"no {i}"}
    drawn = {"transform": "choice", "options": options, "text": None, "template": "{answer}", "label": "label"}
    data = local(write_rows(tmp_path / "a.jsonl", numbered(400, **fields)), **drawn, classes=["wrong", "right"])

    def rows(pool: str, of_run: int, **settings: Any) -> dict[str, int]:
        folder = tmp_path / f"{pool}-{of_run}-{settings}"
        return {row["id"]: row["label"] for row in make(folder, {**data, **settings}, pool, seed=of_run)[0]}

    zero, one = rows("weak_train", 0), rows("weak_train", 1)
    both = zero.keys() & one.keys()
    assert len(both) < 0.7 * len(zero)  # another half of the rows …
    assert 0.3 < sum(zero[name] == one[name] for name in both) / len(both) < 0.7  # … and other coins for the same rows
    test = rows("test", 0)
    assert rows("test", 1) == test
    assert not test.keys() & (zero.keys() | one.keys())
    assert rows("weak_train", 0, seed=1) == rows("weak_train", 1, seed=1) == one  # data.seed pins the rows
    assert rows("test", 0, test_seed=3).keys() != test.keys()


def test_another_seed_draws_the_training_pools_anew_and_leaves_the_test_rows() -> None:
    names = [str(number) for number in range(4000)]
    shares_of = {"test": (0.0, 0.2), "weak_train": (0.2, 0.6), "strong_train": (0.6, 1.0)}

    def drawn(seed: int) -> dict[str, set[int]]:
        test = {"seed": 0, "share": 0.2}
        return {
            pool: set(pool_order("mine", names, names, share=share, seed=seed, test=test))
            for pool, share in shares_of.items()
        }

    first, second = drawn(0), drawn(1)
    assert first["test"] == second["test"]
    for pools in (first, second):
        assert sorted(row for rows in pools.values() for row in rows) == list(range(4000))
        assert len(pools["weak_train"]) == pytest.approx(1600, abs=100)
    assert len(first["weak_train"] & second["weak_train"]) == pytest.approx(
        800, abs=100
    )  # independent draws share half
    assert first["weak_train"] == set(pool_order("mine", names, names, share=(0.2, 0.6), seed=0))


def test_a_coin_falls_on_both_sides_alike() -> None:
    heads = sum(uniform("set", "label", 0, f"train-{i}") < 0.5 for i in range(10_000))
    assert abs(heads - 5000) < 200  # 4 standard deviations


def test_draws_do_not_change_between_releases() -> None:
    digest = hashlib.sha256(b'["sciq","label",0,"train-0"]').digest()
    assert uniform("sciq", "label", 0, "train-0") == int.from_bytes(digest[:8]) // 2**11 / 2**53 == 0.8795885200703882
    assert drawer("sciq", "label", 0)("train-0") == 0.8795885200703882


def test_rows_of_one_group_never_cross_pools(tmp_path: Path) -> None:
    rows = numbered(600, question=lambda i: f"q{i // 6}", lang=lambda i: i % 2)
    data = local(write_rows(tmp_path / "a.jsonl", rows), group=["question"])
    where = [{row["group"] for row in make(tmp_path / pool, data, pool)[0]} for pool in POOL_NAMES]
    assert sum(map(len, where)) == 100
    assert len(set.union(*where)) == 100


def test_a_limit_takes_the_beginning_of_the_same_order(tmp_path: Path) -> None:
    data = local(write_rows(tmp_path / "a.jsonl", numbered(300)))
    every, metrics = make(tmp_path / "all", data, "strong_train")
    few, limited = make(tmp_path / "few", {**data, "limits": {"strong_train": 20}}, "strong_train")
    assert few == every[:20]
    assert limited["pool_rows"] == metrics["rows"]


def test_only_what_determines_a_pool_is_in_its_params() -> None:
    data, source = recipe("sciq"), {"hub": "allenai/sciq", "config": None, "revision": "0" * 40}

    def params(pool: str, **changes: Any) -> dict[str, Any]:
        file = find_code(TRANSFORMS, "choice")
        return rows_params({**data, **changes}, pool=pool, source=source, transform_file=file)

    weak = params("weak_train")
    same = {
        "limits": {**data["limits"], "test": 7, "strong_train": 9},
        "pools": {**data["pools"], "strong_train": 0.3},
        "warning": "x",
        "truncation": "right",
        "path": "elsewhere",
        "expected": None,
    }
    for field, value in same.items():
        assert params("weak_train", **{field: value}) == weak, field
    other = {
        "limits": {"weak_train": 7},
        "pools": {"weak_train": 0.4},
        "seed": 1,
        "template": "{answer}",
        "group": [],
        "options": {"choices": ["a", "b"]},
        "classes": ["a", "b"],
        "balanced": True,
        "name": "other",
        "id": "id",
    }
    for field, value in other.items():
        assert params("weak_train", **{field: value}) != weak, field
    assert params("test", pools={"weak_train": 0.1}) == params("test")  # its own split


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"role": "user", "content": "hi"}], "a record with the fields role, content"),
        ({"a": 1}, "a record with the fields a"),
        ([["a"], ["b"]], "a value of type list"),
        (["a", None], "a value of type NoneType"),
    ],
)
@pytest.mark.parametrize("option", ["template", "second"])
def test_records_are_not_written_into_texts_as_python(tmp_path: Path, value: object, message: str, option: str) -> None:
    path = write_rows(tmp_path / "a.jsonl", numbered(60, messages=lambda i: value))
    templates = {"text": None, "template": "{text}", option: "Q: {messages}"}
    with pytest.raises(UserError, match=rf'a\.jsonl, row train-\d+, column "messages": {message}.*data\.transform'):
        make(tmp_path / "1", local(path, **templates), "test")


def test_lists_of_texts_and_numbers_are_written_as_lines(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", numbered(60, turns=lambda i: ["hi", i, 0.5]))
    rows, _ = make(tmp_path / "1", local(path, text=None, template="{turns}"), "test")
    assert all(row["text"] == f"hi\n{row['id'].removeprefix('train-')}\n0.5" for row in rows)


def test_balanced_pools_have_as_many_rows_of_each_class(tmp_path: Path) -> None:
    data = local(write_rows(tmp_path / "a.jsonl", numbered(400, label=lambda i: int(i % 4 == 0))), balanced=True)
    rows, metrics = make(tmp_path / "all", data, "strong_train")
    assert metrics["base_rates"] == {"0": 0.5, "1": 0.5}
    assert metrics["balanced_from"] == metrics["pool_rows"] > len(rows)
    few, _ = make(tmp_path / "few", {**data, "limits": {"strong_train": 20}}, "strong_train")
    assert [sum(row["label"] == label for row in few) for label in (0, 1)] == [10, 10]
    assert {row["id"] for row in few} <= {row["id"] for row in rows}


def test_a_row_without_text_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*numbered(60), *({"text": text, "label": 1} for text in ("", "  ", None, 7, "\ud800"))]
    data = local(write_rows(tmp_path / "a.jsonl", rows), pools={"weak_train": 1.0})
    found, metrics = make(tmp_path / "w", data, "weak_train")
    assert len(found) == 60
    assert metrics["dropped"] == {
        "whose text is no text (column text)": 1,
        "whose text is not valid Unicode (column text)": 1,
        "without a text (column text)": 3,
    }
    params = {"dataset": {"transform": "choice"}}
    [line] = rows_stage.cautions(metrics, params, {"data": "mine", "rows": "weak_train"})
    assert line == (
        "Caution: 5 of 65 rows of mine weak_train were left out: 1 whose text is no text (column text), "
        "1 whose text is not valid Unicode (column text), 3 without a text (column text)."
    )


def test_a_row_without_a_part_of_its_problem_is_left_out_by_its_column_and_a_test_row_needs_no_solution(
    tmp_path: Path,
) -> None:
    def problem(at: int) -> dict[str, Any]:
        question: Any = {1: "", 2: None, 3: ["a"]}.get(at % 20, f"q{at}")
        return {"q": question, "a": float("nan") if at % 20 == 4 else at, "s": ["", None, "work"][min(at % 10, 2)]}

    path = write_rows(tmp_path / "a.jsonl", [problem(at) for at in range(400)])
    data = local(path, text=None, label=None, prompt="q", answer="a", solution="s")
    _, training = make(tmp_path / "train", data, "strong_train")
    assert {reason: count > 0 for reason, count in training["dropped"].items()} == {
        "whose prompt is no text (column q)": True,
        "without a prompt (column q)": True,
        "without a solution (column s)": True,
        "without an answer (column a)": True,
    }
    test, kept = make(tmp_path / "test", data, "test")
    assert not any("solution" in reason for reason in kept["dropped"])
    lacking = [row["id"] for row in test if row["solution"] is None]
    assert lacking
    said = rf"{len(lacking)} of {len(test)} rows have no solution \(data.solution\), first row {lacking[0]};"
    with pytest.raises(UserError, match=said):
        solutions.run({}, {"rows": tmp_path / "test"}, context(tmp_path / "solutions"))


def test_rows_that_are_left_out_as_asked_are_no_caution() -> None:
    params = {"dataset": {"transform": "choice"}, "overlap": True}
    metrics = {"dropped": {"left out by choice": 9, "with a text of test": 3}}
    assert rows_stage.cautions(metrics, params, {"data": "mine", "rows": "weak_train"}) == []


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        ([True, False], None, ["false", "true"]),
        (["yes", "no"], None, ["no", "yes"]),
        ([5, 3, 9], None, ["3", "5", "9"]),
        ([1.0, 0.0], None, ["0", "1"]),
        (["1", "0"], ["neg", "pos"], ["neg", "pos"]),
        ([True, False], ["no", "yes"], ["no", "yes"]),
        (["b", "c", "a"], ["c", "b", "a"], ["c", "b", "a"]),
    ],
)
def test_labels_may_be_numbers_names_or_truth_values(
    tmp_path: Path, values: list[Any], classes: list[str] | None, expected: list[str]
) -> None:
    rows = numbered(60, label=lambda i: values[i % len(values)])
    data = local(write_rows(tmp_path / "a.jsonl", rows), pools={"weak_train": 1.0}, classes=classes)
    found, metrics = make(tmp_path / "w", data, "weak_train")
    assert metrics["classes"] == expected
    shown = {row["id"]: expected[row["label"]] for row in found}
    said = {f"train-{i}": values[i % len(values)] for i in range(60)}
    for name, value in said.items():
        if classes is None:
            assert shown[name] == (f"{value:g}" if isinstance(value, float) else str(value).lower())
        elif isinstance(value, bool) or value.isdecimal():
            assert shown[name] == classes[int(value)]
        else:
            assert shown[name] == value


def test_the_same_params_give_the_same_bytes(tmp_path: Path) -> None:
    data = local(write_rows(tmp_path / "a.jsonl", numbered(100)))
    make(tmp_path / "1", data, "test")
    make(tmp_path / "2", data, "test")
    assert (tmp_path / "1/rows.parquet").read_bytes() == (tmp_path / "2/rows.parquet").read_bytes()


def test_another_version_of_the_data_is_noticed(tmp_path: Path) -> None:
    data = local(write_rows(tmp_path / "a.jsonl", numbered(100)))
    make(tmp_path / "1", data, "test", expected={"train": 99})
    assert "written for 99" in (tmp_path / "1/log.txt").read_text()


def test_data_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", numbered(100))
    data = local(path)
    params = rows_params(data, pool="test", source={"sha256": fingerprint(path, data["splits"])})
    write_rows(path, numbered(101))
    with pytest.raises(UserError, match="not what this run was planned for"):
        run_stage(tmp_path / "1", params, {"data_path": str(path)})


def test_a_plan_that_trusted_a_wrong_digest_is_right_after_the_stage_has_refused_it(tmp_path: Path) -> None:
    path, store = write_rows(tmp_path / "a.jsonl", numbered(100)), Store(tmp_path / "outputs")
    store.make()
    data, right = local(path), Resolver(store).data(local(path))
    write_json(
        store.digests, {name: "wrong" for name in read_json(store.digests) if name != SEAL}
    )  # as of an older w2s
    planned, _ = Resolver(store).data(data)
    assert planned != right[0]
    params = rows_params(data, pool="test", source=planned)
    with pytest.raises(UserError, match=r"not what this run was planned for.*Run the command again"):
        run_stage(tmp_path / "1", params, {"data_path": str(path)}, cache=store.cache)
    assert Resolver(store).data(data) == right


def test_a_mapped_folder_of_the_datasets_library_gives_each_test_row_once(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    splits = {
        split: datasets.Dataset.from_list(numbered(80, text=lambda i, s=split: f"{s} {i}"))
        for split in ("train", "test")
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    datasets.load_from_disk(tmp_path / "saved").map(lambda row: {"length": len(row["text"])})
    data = local(tmp_path / "saved", splits={"train": "train", "test": "test"})
    rows, metrics = make(tmp_path / "test", data, "test")
    assert (len(rows), metrics["source_rows"], len({row["text"] for row in rows})) == (80, 80, 80)


def test_a_transform_of_the_users_own_is_found_and_known_by_its_code(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "data" / "transforms"
    folder.mkdir(parents=True)
    code = "def loud(row, *, draw, mark='!'):\n    return {'shout': row['text'].upper() + mark} if row['label'] < 2 else None\n"
    (folder / "loud.py").write_text(code)
    path = write_rows(tmp_path / "a.jsonl", numbered(100, label=lambda i: i % 3))
    data = local(path, transform="loud", text="shout", options={"mark": "?"}, classes=["a", "b", "c"])
    source = {"sha256": fingerprint(path, data["splits"])}
    params = rows_params(data, pool="test", source=source, transform_file=folder / "loud.py")
    execution = {"data_path": str(path), "folders": [str(tmp_path / "mine")]}
    rows, metrics = run_stage(tmp_path / "1", params, execution)
    assert all(row["text"].startswith("TEXT ") and row["text"].endswith("?") for row in rows)
    assert metrics["dropped"]["left out by loud"] > 0
    (folder / "loud.py").write_text(code.replace("upper", "title"))
    with pytest.raises(UserError, match="edited after this run was planned"):
        run_stage(tmp_path / "2", params, execution)


def test_every_data_set_of_the_package_has_a_recipe_that_can_be_planned() -> None:
    for path in sorted((configs_folder() / "data").glob("*.yaml")):
        data = recipe(path.stem)
        assert data["name"] == path.stem
        assert set(data) == {field.name for field in fields(DataConfig)}, "a field that DataConfig does not have"
        if path.stem != "local":
            only_test = data["pools"].get("test") == 1  # to measure models
            pools = ("test",) if only_test else ("test", "weak_train", "strong_train")
            assert all(rows_params(data, pool=pool, source={"sha256": "0"})["pool"] == pool for pool in pools)


def test_the_bundled_set_has_the_pools_of_its_recipe(tmp_path: Path) -> None:
    data = recipe("wordnet_living")
    sizes = {}
    ids: list[str] = []
    for pool in data["pools"]:
        rows, metrics = make(tmp_path / pool, data, pool)
        sizes[pool] = metrics["rows"]
        ids += [row["id"] for row in rows]
        assert all(row["text"].endswith(":") for row in rows)
        assert 0.4 < metrics["base_rates"]["1"] < 0.6
    assert all(sizes[pool] == limit for pool, limit in data["limits"].items())
    assert len(set(ids)) == len(ids)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("a misspelt text column", {"text": "txet"}, 'no column "txet".*Did you mean "text"'),
    ("a misspelt label column", {"label": "labels"}, 'no column "labels".*Did you mean "label"'),
    ("a misspelt group", {"group": ["qestion"]}, 'no column "qestion".*data.group'),
    ("a misspelt id", {"id": "idd"}, 'no column "idd".*data.id'),
    ("a misspelt template field", {"text": None, "template": "{texx}"}, 'no column "texx".*Did you mean "text"'),
    ("no text", {"text": None}, "data.text=COLUMN or data.template"),
    ("both", {"template": "{text}"}, "data.text=COLUMN or data.template"),
    ("no label", {"label": None}, "data.label=COLUMN"),
    ("reaching into objects", {"text": None, "template": "{text.__class__}"}, "no plain column name"),
    ("a lone brace", {"text": None, "template": "{text"}, "written twice"),
    ("repeated ids", {"id": "label"}, "come more than once"),
    ("text as label", {"label": "text"}, "more than 20 different values"),
    ("a label that is no class", {"classes": ["a", "b"], "label": "three"}, "label 2 is none of the 2 classes"),
    ("one class", {"label": "same"}, "only one class"),
    ("too many classes", {"classes": [str(i) for i in range(21)]}, "2 to 20 classes"),
    ("an unknown format", {"format": "xml"}, "data.format=xml"),
    ("too large pools", {"pools": {"test": 0.6, "weak_train": 0.6}}, "add up to at most 1"),
    ("a pool without share", {"pools": {"weak_train": 1.0}}, "pool test gets no rows"),
    (
        "a test split in one file",
        {"splits": {"train": "train", "test": "test"}},
        "has no splits and cannot hold the test split",
    ),
    (
        "an unknown transform option",
        {"transform": "choice", "options": {"choises": []}},
        'no option "choises".*Did you mean "choices"',
    ),
    ("a missing transform option", {"transform": "choice", "classes": ["a", "b"]}, 'needs the option "choices"'),
    (
        "a transform's missing column",
        {"transform": "choice", "options": {"choices": ["text", "text2"]}},
        'no column "text2"',
    ),
]


@pytest.mark.parametrize(("changes", "message"), [pytest.param(c, m, id=name) for name, c, m in WRONG])
def test_wrong_data_settings_are_refused_with_advice(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    rows = numbered(60, three=lambda i: i % 3, same=lambda i: 1, question=lambda i: i)
    data = local(write_rows(tmp_path / "a.jsonl", rows), **changes)
    with pytest.raises(UserError, match=message):
        make(tmp_path / "w", data, "test")


def test_training_and_testing_on_one_split_is_refused_at_planning() -> None:
    data = recipe("sciq", splits={"train": "train", "test": "train"})
    with pytest.raises(UserError, match="the same split"):
        check_recipe(data)


@pytest.mark.parametrize("value", [None, float("nan"), "", 0.5, [1]])
def test_a_missing_or_odd_label_is_refused_with_its_row(tmp_path: Path, value: Any) -> None:
    rows = numbered(60)
    rows[17]["label"] = value
    unnamed = local(write_rows(tmp_path / "a.jsonl", rows), pools={"test": 1.0})
    for data in (unnamed, {**unnamed, "classes": ["a", "b"]}):
        with pytest.raises(UserError, match=r"a\.jsonl, line 18.*label"):
            make(tmp_path / "w", data, "test")


# --- real rows, and rows of the hubs' documented columns


def test_boolq_rows(tmp_path: Path) -> None:
    splits = {"train": "validation", "test": None}
    pools = {"test": 0.4, "weak_train": 0.3, "strong_train": 0.3}
    data = recipe("boolq", path=str(real("boolq")), splits=splits, label="label", pools=pools)
    found = {pool: make(tmp_path / pool, data, pool) for pool in pools}
    assert sum(metrics["rows"] for _, metrics in found.values()) == 3270
    groups = [{row["group"] for row in rows} for rows, _ in found.values()]
    assert len(set.union(*groups)) == sum(map(len, groups))
    assert abs(found["test"][1]["base_rates"]["1"] - 0.622) < 0.05
    balanced = make(tmp_path / "b", {**data, "balanced": True}, "test")[1]
    assert balanced["base_rates"]["1"] == 0.5


def test_cosmos_qa_never_shows_none_of_the_above(tmp_path: Path) -> None:
    splits, pools = {"train": "validation", "test": None}, {"test": 0.5, "weak_train": 0.25, "strong_train": 0.25}
    data = recipe("cosmos_qa", path=str(real("cosmos_qa")), splits=splits, pools=pools)
    rows, metrics = make(tmp_path / "t", data, "test")
    assert not any("none of the above" in row["text"].lower() for row in rows)
    assert metrics["dropped"]["left out by choice"] > 50
    assert abs(metrics["base_rates"]["1"] - 0.5) < 0.06


def test_openbookqa_rows_show_right_and_wrong_options_alike(tmp_path: Path) -> None:
    data = recipe("openbookqa", path=str(real("openbookqa")))
    rows, metrics = make(tmp_path / "w", data, "weak_train")
    assert abs(metrics["rows"] - 4957 / 2) < 150
    assert metrics["source_rows"] == data["expected"]["train"]
    source = read_gz(real("openbookqa") / "train.jsonl.gz")
    for row in rows:
        answer = row["text"].rsplit("Answer: ", 1)[1]
        said = source[int(row["id"].split("-")[1])]
        assert (answer == said["choices"][said["label"]]) == row["label"]
        assert answer in said["choices"]
    assert make(tmp_path / "t", data, "test")[1]["rows"] == 500


@pytest.mark.parametrize(("name", "sizes"), [("ethics_justice", (21791, 2704)), ("rotten_tomatoes", (8530, 1066))])
def test_sets_with_a_label_column(tmp_path: Path, name: str, sizes: tuple[int, int]) -> None:
    data = recipe(name, path=str(real(name)), limits={})
    halves = [make(tmp_path / pool, data, pool)[1]["rows"] for pool in ("weak_train", "strong_train")]
    assert sum(halves) == sizes[0]
    rows, metrics = make(tmp_path / "test", data, "test")
    assert (len(rows), metrics["source_rows"]) == (sizes[1], data["expected"]["test"])


def test_anthropic_hh_shows_one_of_each_pair(tmp_path: Path) -> None:
    splits = {"train": "single_turn_train_gt.jsonl.gz", "test": "single_turn_test.jsonl.gz"}
    data = recipe("anthropic_hh", path=str(real("hh_rlhf_harmless")), splits=splits)
    rows, metrics = make(tmp_path / "t", data, "test")
    assert len(rows) + sum(metrics["dropped"].values()) == 4000
    assert abs(metrics["base_rates"]["1"] - 0.5) < 0.04
    assert all(row["text"].startswith("\n\nHuman: ") for row in rows)


def test_sciq_rows_of_the_documented_columns(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"What is {i}?",
            "distractor3": f"c{i}",
            "distractor1": f"a{i}",
            "distractor2": f"right {i}" if i == 3 else f"b{i}",  # a distractor that is the answer: never shown as wrong
            "correct_answer": f"right {i}",
            "support": "",
        }
        for i in range(400)
    ]
    for split in ("train", "validation", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    found, metrics = make(tmp_path / "t", recipe("sciq", path=str(tmp_path)), "test")
    assert len(found) == 400
    assert all(("A: right" in row["text"]) == row["label"] for row in found)
    assert {row["text"].rsplit("A: ", 1)[1][0] for row in found} == {"a", "b", "c", "r"}
    assert 0.4 < metrics["base_rates"]["1"] < 0.6


def test_amazon_polarity_formats_only_the_rows_it_takes(tmp_path: Path) -> None:
    rows = {
        "label": [i % 2 for i in range(50_000)],
        "title": ["t"] * 50_000,
        "content": [f"c {i}" for i in range(50_000)],
    }
    for number in range(2):
        pq.write_table(pa.table(rows), tmp_path / f"train-0000{number}-of-00002.parquet")
    pq.write_table(pa.table(rows), tmp_path / "test-00000-of-00001.parquet")
    data = recipe("amazon_polarity", path=str(tmp_path), limits={"weak_train": 100})
    found, metrics = make(tmp_path / "w", data, "weak_train")
    assert (len(found), metrics["source_rows"]) == (100, 100_000)
    assert abs(metrics["pool_rows"] - 50_000) < 1000
    assert all(row["text"].startswith("t c ") for row in found)


def test_a_balanced_pool_has_a_row_of_every_class() -> None:
    data = recipe("sciq", balanced=True, limits={"test": 1})
    data["classes"] = ["a", "b"]
    with pytest.raises(UserError, match=r"data\.limits\.test=1: a number of rows from 2 up"):
        check_recipe(data)
