"""Like is compared with like: the same seeds and pairs of models in tests, n where it differs, one word for a missing PGR."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import w2s_cli
from tests.command.test_table import cells, job, levels_of, pgr, table
from tests.stored_results import store_run
from w2s_cli.results.reader import Run
from w2s_cli.results.summary_table import medians
from w2s_cli.store.store import Store

LEVELS = {"xent": 0.7, "logconf": 0.76}


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder without results, in the present folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    (tmp_path / "outputs" / "stages").mkdir(parents=True)
    return tmp_path / "outputs"


def many(data: str, loss: str, seeds: range, **more: Any) -> list[dict[str, Any]]:
    return [job(data=data, loss=loss, seed=seed, levels=(0.6, LEVELS[loss], 0.9), **more) for seed in seeds]


def store(outputs: Path, jobs: list[dict[str, Any]], name: str = "100000-a-11111111") -> None:
    store_run(outputs, jobs, name=name, rows=200)


def test_only_the_seeds_that_both_losses_have_are_tested(outputs: Path, capsys: Any) -> None:
    jobs = []
    for number in range(3):
        jobs += [*many(f"set{number}", "xent", range(6)), *many(f"set{number}", "logconf", range(3))]
    store(outputs, jobs)
    made = json.loads(table(capsys, "losses", "format=json"))
    (test,) = made["tests"]
    assert (test["first"], test["second"], test["n"]) == ("logconf", "xent", 3)
    assert [pair["seeds"] for pair in test["pairs"]] == [[0, 1, 2]] * 3
    by_seed = cells(capsys, "rows=data,loss,seed", "metric=student")
    own = {(cell["data"], cell["loss"], int(cell["seed"])): cell["keys"][0] for cell in by_seed}
    for pair in test["pairs"]:
        for side, loss in (("first", "logconf"), ("second", "xent")):
            expected = pgr(levels_of(outputs, [own[pair["row"][0], loss, seed] for seed in range(3)]))
            assert pair[side] == pytest.approx(expected, abs=1e-9)
    every = pgr(levels_of(outputs, [own["set0", "xent", seed] for seed in range(6)]))
    assert abs(every - test["pairs"][0]["second"]) > 1e-6  # the other seeds would have moved it
    out = table(capsys, "losses")
    assert re.search(r"^set0 +-?\d\.\d\d \[.*\] n=3 +-?\d\.\d\d \[.*\] n=6$", out, re.MULTILINE)
    assert (
        "only the seeds and models that both columns have, so 3 pairs rest on fewer results than the table shows" in out
    )
    assert re.search(r"^logconf - xent +3 +3 ", out, re.MULTILINE)


def test_losses_without_a_common_seed_are_no_pair(outputs: Path, capsys: Any) -> None:
    store(outputs, [*many("a", "xent", range(2)), *many("a", "logconf", range(2, 4))])
    (test,) = json.loads(table(capsys, "losses", "format=json"))["tests"]
    assert (test["n"], test["left_out"]) == (0, 1)
    assert "1 pair without a number in one of the columns is left out." in table(capsys, "losses")


def test_only_pairs_of_models_that_both_losses_have_are_tested(outputs: Path, capsys: Any) -> None:
    jobs = [*many("a", "xent", range(1), strong="s"), *many("a", "xent", range(1), strong="l")]
    store(outputs, [*jobs, *many("a", "logconf", range(1), strong="s")])
    (test,) = json.loads(table(capsys, "losses", "metric=student", "format=json"))["tests"]
    (pair,) = test["pairs"]
    (small,) = cells(capsys, "rows=data", "metric=student", "loss=xent", "strong=s")
    assert pair["second"] == pytest.approx(small["value"], abs=1e-12)
    assert pair["cut"]


def test_fewer_than_three_pairs_have_no_test(outputs: Path, capsys: Any) -> None:
    for number in range(3):
        store(
            outputs,
            [*many(f"set{number}", "xent", range(1)), *many(f"set{number}", "logconf", range(1))],
            f"10000{number}-a-1111111{number}",
        )
        out = table(capsys, "losses")
        n = number + 1
        (test,) = json.loads(table(capsys, "losses", "format=json"))["tests"]
        assert test["n"] == n
        assert (test["t"]["p"] is None, test["wilcoxon"]["p"] is None) == ((n < 3,) * 2)
        assert ("W+ p" in out) == (n >= 3)
        assert ("No test of fewer than 3 pairs. rows=data,seed makes each seed a pair." in out) == (n < 3)


def test_the_seeds_of_one_data_set_are_pairs_if_a_row_is_a_seed(outputs: Path, capsys: Any) -> None:
    store(outputs, [*many("a", "xent", range(4)), *many("a", "logconf", range(5))])
    (test,) = json.loads(table(capsys, "losses", "rows=data,seed", "metric=student", "format=json"))["tests"]
    assert test["n"] == 4
    assert [pair["seeds"] for pair in test["pairs"]] == [[0], [1], [2], [3]]


def test_the_number_of_seeds_stands_beside_settings_that_differ_in_it(outputs: Path, capsys: Any) -> None:
    store(outputs, [*many("a", "xent", range(4)), *many("a", "logconf", range(2))])
    lines = table(capsys, "settings").splitlines()
    assert re.search(r"^setting +n +weak +student", lines[1])
    assert re.search(r"^naive, logconf +2 +0\.", lines[2])
    assert re.search(r"^naive, xent +4 +0\.", lines[3])
    assert "n: 2 to 4 seeds a setting, 200 test rows." in lines
    alike = table(capsys, "settings", "loss=xent")
    assert " n " not in alike.splitlines()[1]
    assert "4 seeds a setting, 200 test rows." in alike.splitlines()


def test_loaded_results_count_each_seed_once_and_no_summary(outputs: Path) -> None:
    store(outputs, many("a", "xent", range(3)))  # with a summary
    store(outputs, many("a", "xent", range(2)), "110000-b-22222222")  # the same stages again
    store(outputs, [*many("a", "xent", range(2, 5)), *many("b", "xent", range(1))], "120000-c-33333333")
    rows = w2s_cli.load(outputs)
    assert [(row["data"], row["seed"]) for row in rows] == [*(("a", seed) for seed in range(5)), ("b", 0)]
    assert len({row["key"] for row in rows}) == 6
    settings = w2s_cli.load(outputs, by="setting")
    assert [(row["data"], row["seeds"]) for row in settings] == [("a", [0, 1, 2, 3, 4]), ("b", [0])]
    mean = np.mean([row["student_accuracy"] for row in rows if row["data"] == "a"])
    assert settings[0]["student_accuracy"] == pytest.approx(mean, abs=1e-9)
    assert settings[0]["student_accuracy_low"] < mean < settings[0]["student_accuracy_high"]
    with pytest.raises(w2s_cli.errors.UserError, match='by="seed" or by="setting"'):
        w2s_cli.load(outputs, by="run")  # type: ignore[arg-type]


def test_titles_name_the_metric_of_their_figures(outputs: Path, capsys: Any) -> None:
    store(outputs, [*many("a", "xent", range(1)), *many("b", "xent", range(1), strong="l")])
    first = {
        words: table(capsys, *words.split()).splitlines()[0]
        for words in ("pairs", "pairs metric=student", "pgr metric=weak.auroc")
    }
    assert first["pairs"].startswith("PGR, weak supervisors in rows and strong students in columns")
    assert first["pairs metric=student"].startswith(
        "student accuracy, weak supervisors in rows and strong students in columns"
    )
    assert first["pgr metric=weak.auroc"].startswith("weak AUROC by data set")
    assert "PGR" not in first["pairs metric=student"]


def test_an_accuracy_and_a_model_have_different_headings(outputs: Path, capsys: Any) -> None:
    store(outputs, [*many("a", "xent", range(1)), *many("a", "xent", range(1), weak="bert")])
    for form in ("text", "latex", "markdown"):
        head = next(line for line in table(capsys, f"format={form}").splitlines() if "weak acc." in line)
        words = [word.strip() for word in re.split(r" {2,}|&|\||\\\\", head) if word.strip()]
        assert len(set(words)) == len(words)


def test_a_column_of_intervals_repeats_no_records(outputs: Path, capsys: Any) -> None:
    store(outputs, many("a", "xent", range(1)))
    assert [cell["metric"] for cell in cells(capsys, "settings")] == ["weak", "student", "ceiling", "pgr"]
    (alone,) = cells(capsys, "rows=data", "metric=pgr.interval")
    assert alone["low"] is not None


@pytest.mark.parametrize("terminal", [False, True])
def test_long_paths_are_shortened_and_names_wrapped(
    outputs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    folder = "/home/somebody/projects/weak-to-strong/labels"
    paths = [f"{folder}/first/labels.jsonl", f"{folder}/second/labels.jsonl"]
    jobs = [j for path in paths for j in many("a_rather_long_data_set_name", "xent", range(1), weak=path)]
    store(outputs, [*jobs, *many("another_rather_long_name", "xent", range(1), weak="bert-base")])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    out = table(capsys, "settings", "intervals=false", "metric=weak,student")
    notes = [f"…/{part}/labels.jsonl is {folder}/{part}/labels.jsonl." for part in ("first", "second")]
    assert all(note in " ".join(out.split()) for note in notes)
    lines = re.sub(r"\x1b\[[\d;]*m", "", out[: out.index("1 seed a setting")]).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.count("0.") <= 2 for line in lines)
    assert sum(line.count("0.") for line in lines) == 6  # figures are whole
    assert [cell["weak"] for cell in cells(capsys, "settings", "metric=weak")] == [*sorted(paths), "bert-base"]


def test_a_median_over_pairs_is_of_one_setting_and_of_more_than_one_pair(outputs: Path) -> None:
    levels = {"s": (0.6, 0.7, 0.9), "m": (0.6, 0.8, 0.95), "l": (0.9, 0.8, 0.6)}  # the last without a gap

    def lines(strong: str, **more: Any) -> list[str]:
        jobs = [job(strong=name, levels=levels[name], **more) for name in strong]
        name = f"10000{len(list(outputs.glob('sweeps/*/*')))}-a-1"
        store(outputs, jobs, name)
        return medians(Run(outputs / "sweeps" / "2026-01-01" / name, Store(outputs)).settings)

    (two,) = lines("sml")
    assert two.startswith("median PGR on sciq, naive, xent: 0.")
    assert "over 2 pairs (0 of a model with itself, 1 without a gap dropped)" in two
    (one,) = lines("sl")
    assert one.startswith("PGR on sciq, naive, xent: 0.")
    assert "of the one pair with a gap" in one
    store(outputs, [job(strong=name, levels=levels[name], lr=lr) for name in "sm" for lr in (1e-5, 1e-4)], "110000-b-2")
    by_rate = medians(Run(outputs / "sweeps" / "2026-01-01" / "110000-b-2", Store(outputs)).settings)
    assert [re.search(r"strong\.lr \S+(?=:)", line)[0] for line in by_rate] == ["strong.lr 1e-05", "strong.lr 0.0001"]  # type: ignore[index]
    assert all("over 2 pairs" in line for line in by_rate)
