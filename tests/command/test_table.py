"""`w2s table`: every number recomputed from the stored predictions, every format read back, every missing cell filled."""

import csv
import io
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from scipy import stats
from sklearn.metrics import roc_auc_score

import w2s_cli
from tests.conftest import environment
from tests.stored_results import read_entries, real_runs, right, run_w2s, store_run, write_entries  # noqa: F401 - real_runs is a fixture
from w2s_cli.cli import dispatch
from w2s_cli.errors import UserError
from w2s_cli.results.reader import FORMAT
from w2s_cli.results.table.missing import written
from w2s_cli.results.table.request import read_request

GOOD = (0.6, 0.75, 0.9)


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder without results, in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "stages").mkdir(parents=True)
    return tmp_path / "outputs"


def job(**given: Any) -> dict[str, Any]:
    """One stored result; the student's accuracy depends on nothing else than `levels`."""
    return {"data": "sciq", "weak": "gpt2", "strong": "qwen", "loss": "xent", "seed": 0, "levels": GOOD, **given}


def table(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `w2s table …` prints; it must end with 0."""
    code = dispatch(["table", *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def cells(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """The cells of the JSON format."""
    found: list[dict[str, Any]] = json.loads(table(capsys, *words, "format=json"))["cells"]
    return found


def levels_of(outputs: Path, keys: list[str]) -> dict[str, float]:
    """Mean accuracy over seeds of each role, from the stored predictions alone."""
    return {
        role: float(np.mean([right(outputs, key, role).mean() for key in keys]))
        for role in ("weak", "student", "ceiling")
    }


def pgr(levels: dict[str, float]) -> float:
    return (levels["student"] - levels["weak"]) / (levels["ceiling"] - levels["weak"])


def test_pgr_and_its_interval_are_those_of_the_stored_predictions(outputs: Path, capsys: Any) -> None:
    store_run(outputs, [job()], name="100000-a-11111111", rows=1000)
    (cell,) = cells(capsys, "pgr")
    (key,) = cell["keys"]
    assert cell["value"] == pytest.approx(pgr(levels_of(outputs, [key])), abs=1e-9)
    correct = np.stack([right(outputs, key, role) for role in ("weak", "student", "ceiling")])  # [3, rows]
    draw = np.random.default_rng(1)
    means = np.stack([correct[:, draw.integers(0, 1000, 1000)].mean(axis=1) for _ in range(4000)])
    ratios = (means[:, 1] - means[:, 0]) / (means[:, 2] - means[:, 0])
    assert (cell["low"], cell["high"]) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), abs=0.03)


def test_seeds_of_separate_runs_are_one_cell_with_the_figures_of_a_summary(outputs: Path, capsys: Any) -> None:
    jobs = [job(seed=seed) for seed in range(3)]
    for seed, one in enumerate(jobs):
        store_run(outputs, [one], name=f"10000{seed}-a-1111111{seed}")
    (joined,) = cells(capsys, "pgr")
    assert joined["seeds"] == [0, 1, 2]
    assert joined["value"] == pytest.approx(pgr(levels_of(outputs, joined["keys"])), abs=1e-9)
    shutil.rmtree(outputs / "runs")
    sweep = store_run(outputs, jobs, name="110000-a-22222222")
    (summary,) = cells(capsys, "pgr")
    assert len(summary["keys"]) == 1  # the summary stage itself
    written_down = read_entries(sweep)[-1]
    assert written_down["stage"] == "summary"
    assert [summary["value"], summary["low"], summary["high"]] == [
        written_down["metrics"]["pgr"]["value"],
        *written_down["metrics"]["pgr"]["interval"],
    ]
    assert [joined[name] for name in ("value", "low", "high")] == [summary[name] for name in ("value", "low", "high")]


def test_a_seed_added_later_joins_the_seeds_of_a_sweep(outputs: Path, capsys: Any) -> None:
    store_run(outputs, [job(seed=seed) for seed in range(2)], name="100000-a-11111111")
    store_run(outputs, [job(seed=5)], name="110000-a-22222222")
    (cell,) = cells(capsys, "pgr")
    assert cell["seeds"] == [0, 1, 5]
    assert cell["value"] == pytest.approx(pgr(levels_of(outputs, cell["keys"])), abs=1e-9)
    split = cells(capsys, "rows=data", "columns=seed", "metric=student")
    assert [one["seed"] for one in split] == ["0", "1", "5"]
    assert [one["value"] for one in split] == pytest.approx(
        [right(outputs, one["keys"][0], "student").mean() for one in split], abs=1e-9
    )


def test_what_was_joined_is_kept_and_not_read_again(outputs: Path, capsys: Any) -> None:
    for seed in range(2):
        store_run(outputs, [job(seed=seed)], name=f"10000{seed}-a-1111111{seed}")
    first = cells(capsys, "pgr")
    (kept,) = (outputs / ".cache" / "tables").glob("*.json")
    content = json.loads(kept.read_text())
    content["pgr"]["value"] = 0.125
    whole = kept.read_text()
    kept.write_text(json.dumps(content))
    assert cells(capsys, "pgr") == first  # it was changed, so it is read again
    assert kept.read_text() == whole
    del content["sha256"]
    kept.write_text(json.dumps(content))
    assert cells(capsys, "pgr")[0]["value"] == 0.125 != first[0]["value"]


def test_predictions_that_are_gone_are_said_and_left_out(outputs: Path, capsys: Any) -> None:
    for seed in range(3):
        store_run(outputs, [job(seed=seed)], name=f"10000{seed}-a-1111111{seed}")
    keys = cells(capsys, "pgr")[0]["keys"]
    shutil.rmtree(next((outputs / "stages" / "evaluate").glob(f"*-{keys[1]}")))
    out = table(capsys, "pgr", "--cells")
    assert "Caution: the predictions of seeds [1] are no longer stored, or damaged; they are left out." in out
    assert "(seeds 0, 2)" in out


def test_fixed_baselines_are_means_over_every_stored_seed_of_the_model(outputs: Path, capsys: Any) -> None:
    store_run(outputs, [job(seed=seed) for seed in range(16)], name="100000-a-11111111")
    store_run(outputs, [job(seed=seed, loss="logconf") for seed in range(2)], name="110000-b-22222222")
    every = cells(capsys, "rows=loss", "columns=seed", "metric=weak", "loss=xent")
    weak = np.mean([right(outputs, one["keys"][0], "weak").mean() for one in every])
    ceiling = np.mean([right(outputs, one["keys"][0], "ceiling").mean() for one in every])
    own = cells(capsys, "rows=loss", "columns=seed", "metric=student", "loss=logconf")
    student = np.mean([right(outputs, one["keys"][0], "student").mean() for one in own])
    (cell,) = cells(capsys, "pgr", "loss=logconf", "baselines=mean")
    assert cell["value"] == pytest.approx((student - weak) / (ceiling - weak), abs=1e-9)
    (per_seed,) = cells(capsys, "pgr", "loss=logconf")
    assert per_seed["value"] != pytest.approx(cell["value"], abs=1e-6)
    (level,) = cells(capsys, "rows=data", "metric=student", "loss=logconf")
    bounds = [(bound - weak) / (ceiling - weak) for bound in (level["low"], level["high"])]
    assert [cell["low"], cell["high"]] == pytest.approx(bounds, abs=1e-9)
    assert "baselines=mean" in table(capsys, "pgr", "baselines=mean")


@pytest.mark.parametrize("rule", ["median", "median_runs", "mean"])
def test_pairs_are_pooled_by_the_papers_exclusion_rule(outputs: Path, capsys: Any, rule: str) -> None:
    models = {"s": 0.6, "m": 0.75, "l": 0.9}
    jobs = [
        job(
            weak=weak,
            strong=strong,
            seed=seed,
            levels=(models[weak], (models[weak] + models[strong]) / 2, models[strong]),
        )
        for weak, strong in itertools.product(models, models)
        for seed in range(2)
    ]
    store_run(outputs, jobs, name="100000-a-11111111", rows=400)
    by_pair = cells(capsys, "rows=weak", "columns=strong,seed", "metric=student")
    ratios, same, below = [], 0, 0
    for (weak, strong), group in itertools.groupby(by_pair, key=lambda one: (one["weak"], one["strong"])):
        keys = [one["keys"][0] for one in group]
        levels = levels_of(outputs, keys)
        students = [right(outputs, key, "student").mean() for key in keys]
        for student in students if rule == "median_runs" else [levels["student"]]:
            if weak == strong:
                same += 1
            elif levels["ceiling"] <= levels["weak"]:
                below += 1
            else:
                ratios.append((student - levels["weak"]) / (levels["ceiling"] - levels["weak"]))
    assert (same, below) == ((6, 6) if rule == "median_runs" else (3, 3))
    (cell,) = cells(capsys, "rows=data", "metric=pgr", f"aggregate={rule}")
    assert cell["value"] == pytest.approx(np.mean(ratios) if rule == "mean" else np.median(ratios), abs=1e-9)
    assert (cell["settings"], cell["counted"]) == (9, len(ratios))
    out = table(capsys, "rows=data", "metric=pgr", f"aggregate={rule}")
    assert f"Left out: {same} of a model with itself, {below} without a gap." in out
    assert f"({len(ratios)})" in out


def test_pgr_on_auroc_is_the_ratio_of_mean_aurocs(outputs: Path, capsys: Any) -> None:
    store_run(outputs, [job(seed=seed) for seed in range(2)], name="100000-a-11111111")
    keys = [one["keys"][0] for one in cells(capsys, "rows=data", "columns=seed", "metric=student")]
    areas: dict[str, list[float]] = {"weak": [], "student": [], "ceiling": []}
    for key, role in itertools.product(keys, areas):
        (path,) = (outputs / "stages" / "evaluate").glob(f"*-{key}/result/predictions.parquet")
        stored = pq.read_table(path).to_pydict()
        areas[role].append(roc_auc_score(stored["label"], [p[1] for p in stored[f"{role}_p"]]))
    means = {role: float(np.mean(values)) for role, values in areas.items()}
    (cell,) = cells(capsys, "rows=data", "metric=pgr_auroc")
    assert cell["value"] == pytest.approx(pgr(means), abs=1e-5)  # the tables hold float32
    assert cell["low"] is None


def test_losses_are_tested_against_each_other_over_data_sets(
    outputs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    jobs = [
        job(data=f"set{number}", loss=loss, levels=(0.6, 0.7 + 0.01 * number + shift, 0.9))
        for number in range(8)
        for loss, shift in (("xent", 0.0), ("logconf", 0.06))
    ]
    store_run(outputs, jobs, name="100000-a-11111111", rows=500)
    found = json.loads(table(capsys, "losses", "format=json"))
    by_loss: dict[str, list[float]] = {"logconf": [], "xent": []}
    for cell in found["cells"]:
        by_loss[cell["loss"]].append(pgr(levels_of(outputs, cell["keys"])))
    (test,) = found["tests"]
    assert (test["first"], test["second"], test["n"]) == ("logconf", "xent", 8)
    assert [pair["seeds"] for pair in test["pairs"]] == [[0]] * 8
    for ours, theirs in (("p", "two-sided"), ("p_greater", "greater"), ("p_less", "less")):
        t = stats.ttest_rel(by_loss["logconf"], by_loss["xent"], alternative=theirs)
        w = stats.wilcoxon(by_loss["logconf"], by_loss["xent"], alternative=theirs, method="exact")
        assert test["t"][ours] == pytest.approx(t.pvalue, abs=1e-6)
        assert test["wilcoxon"][ours] == pytest.approx(w.pvalue, abs=1e-9)
    out = table(capsys, "losses", "tests=xent:logconf")
    assert re.search(r"^xent - logconf +8 ", out, re.MULTILINE)
    assert "Paired over data" in out


def test_a_gap_that_may_be_nothing_is_no_number(outputs: Path, capsys: Any) -> None:
    jobs = [job(levels=(0.7, 0.7, 0.7)), job(loss="logconf", levels=(0.7, 0.7, 0.7))]
    jobs += [job(data="below", levels=(0.9, 0.8, 0.6)), job(data="fine")]
    store_run(outputs, jobs, name="100000-a-11111111")
    out = table(capsys, "pgr", "loss=xent")
    assert re.search(r"^sciq +no gap$", out, re.MULTILINE)
    assert re.search(r"^below +no gap$", out, re.MULTILINE)
    assert re.search(r"^fine +0\.\d\d \[", out, re.MULTILINE)
    assert (
        "no gap: the ceiling does not beat the weak supervisor, or the method's floor, by more than noise, so every PGR is possible "
        "(1 cell)." in out
    )
    assert (
        "no gap: the ceiling is below the weak supervisor, or the method's floor, so PGR has no meaning (1 cell)."
        in out
    )
    flags = {cell["data"]: cell["flag"] for cell in cells(capsys, "pgr", "loss=xent")}
    assert flags == {"sciq": "gap_is_noise", "below": "ceiling_below_weak", "fine": None}  # as in results.json
    assert {row["pgr_flag"] for row in w2s_cli.load(outputs)} == set(flags.values())


def test_settings_that_differ_in_a_field_of_the_configuration_are_never_pooled(outputs: Path, capsys: Any) -> None:
    jobs = [
        job(lr=lr, seed=seed, levels=(0.6, level, 0.9)) for lr, level in ((1e-5, 0.7), (1e-4, 0.8)) for seed in (0, 1)
    ]
    store_run(outputs, jobs, name="100000-a-1", rows=1000)
    for words in ([], ["settings"], ["methods"], ["pgr"], ["losses", "tests=none"], ["columns=data"]):
        found = cells(capsys, *words)
        assert {one["strong.lr"] for one in found} == {"1e-05", "0.0001"}
        assert {(one["settings"], tuple(one["seeds"])) for one in found} == {(1, (0, 1))}
        said = table(capsys, *words)
        assert "Caution" not in said
        assert "(2)" not in said
    assert all(one["low"] is not None for one in cells(capsys, "pgr"))
    out = table(capsys, "rows=data", "metric=pgr")  # rows that a user names are taken at their word
    assert "Caution: some cells pool settings that differ in strong.lr (1e-05, 0.0001)" in out
    split = cells(capsys, "rows=strong.lr", "metric=student")
    assert [one["strong.lr"] for one in split] == ["1e-05", "0.0001"]
    assert [one["settings"] for one in split] == [1, 1]
    (one,) = cells(capsys, "pgr", "strong.lr=1e-4")
    assert one["keys"] == split[1]["keys"]


def edit_configs(folder: Path, change: Any) -> None:
    """Change every configuration of a stored run: change(number, config)."""
    configs = list(yaml.safe_load_all((folder / "config.yaml").read_text()))
    for number, config in enumerate(configs):
        change(number, config)
    (folder / "config.yaml").write_text(yaml.safe_dump_all(configs, sort_keys=False))


def test_fields_that_cannot_change_a_result_make_no_setting(outputs: Path, capsys: Any) -> None:
    def change(number: int, config: dict[str, Any]) -> None:
        config |= {"ensemble": 3 + number, "pairs": ["all", "upper"][number], "outputs": f"folder{number}"}
        config["launcher"]["jobs"] = number
        config["data"]["licence"] = f"licence {number}"
        config["loss"]["label"] = [None, "xent"][number]
        config["train"] |= {"lora": {"r": 8 + number}, "labels": "soft", "sharpening": number / 4}

    jobs = [job(seed=seed, fields={"ensemble": None}) for seed in (0, 1)]
    edit_configs(store_run(outputs, jobs, name="100000-a-1"), change)
    for words in (["settings"], ["pgr"], ["methods"]):
        found = cells(capsys, *words)
        assert {tuple(one["seeds"]) for one in found} == {(0, 1)}
        assert not any("." in name for name in found[0])


def test_as_few_fields_split_rows_as_tell_them_apart(outputs: Path, capsys: Any) -> None:
    def change(number: int, config: dict[str, Any]) -> None:
        config["data"]["limits"] = {"strong_train": [300, 4000, 4000][number], "test": None}
        config["weak"]["max_length"] = [64, 128, 128][number]
        config["loss"]["args"] = {"alpha": [0.1, 0.1, 0.9][number]}

    jobs = [job(fields={"evaluates": "pgr"}, lr=lr) for lr in (1e-5, 1e-4, 3e-4)]
    folder = store_run(outputs, jobs, name="100000-a-1")
    edit_configs(folder, lambda number, config: (change(number, config), config["strong"].update(lr=1e-5)))
    found = cells(capsys, "settings", "metric=student")
    fields = [name for name in found[0] if "." in name]
    assert len(fields) == 2
    assert len({tuple(one[name] for name in fields) for one in found}) == 3
    assert "loss.args.alpha" in fields


def test_losses_are_compared_within_one_setting(outputs: Path, capsys: Any) -> None:
    jobs = []
    for number in range(3):
        data = f"set{number}"
        jobs += [
            job(data=data, loss=loss, levels=(0.6, 0.7 + shift, 0.9)) for loss, shift in (("xent", 0), ("kl", 0.1))
        ]
        jobs += [
            job(data=data, seed=7, levels=(0.6, 0.5, 0.9), fields={"control": "random_labels"}),
            job(data=data, seed=8, levels=(0.6, 0.89, 0.9), fields={"method": "probing", "evaluates": "pgr_truth"}),
        ]
    store_run(outputs, jobs, name="100000-a-1", rows=500)
    found = json.loads(table(capsys, "losses", "format=json"))
    assert len(found["cells"]) == 6
    assert {one["settings"] for one in found["cells"]} == {1}
    naive = {
        (c["data"], c["loss"]): c["value"]
        for c in cells(capsys, "rows=data", "columns=loss", "method=naive", "control=-")
    }
    assert {(c["data"], c["loss"]): c["value"] for c in found["cells"]} == naive
    (test,) = found["tests"]
    assert test["n"] == 3
    assert test["mean"] == pytest.approx(np.mean([naive[f"set{n}", "kl"] - naive[f"set{n}", "xent"] for n in range(3)]))
    assert "6 settings with one loss only are left out" in table(capsys, "losses")
    every = cells(capsys, "losses", "tests=none")
    assert {one["setting"] for one in every} == {"naive", "naive, control random_labels", "probing, pgr_truth"}


NUMBERS = re.compile(r"-?\d\.\d\d!? \[-?\d\.\d\d, -?\d\.\d\d\]")


def many_settings(outputs: Path, data: int, settings: int) -> None:
    """Results of so many settings on so many data sets."""
    jobs = [
        job(data=f"set{number}", fields={"control": f"control{one:02d}"}, levels=(0.6, 0.7 + 0.004 * one, 0.9))
        for number in range(data)
        for one in range(settings)
    ]
    store_run(outputs, jobs, name="100000-a-11111111", rows=100)


def figures_of(out: str) -> list[str]:
    return sorted(NUMBERS.findall(out))


def lines_of(out: str) -> list[str]:
    """The table's lines, without its notes and the signs for bold."""
    return re.sub(r"\x1b\[[\d;]*m", "", out[: out.index("1 seed a setting")]).splitlines()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_with_too_many_columns_is_turned_over(
    outputs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    many_settings(outputs, data=2, settings=40)
    expected = figures_of(table(capsys, "pgr", "format=markdown"))  # which has a column for each
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    out = table(capsys, "pgr")
    lines = lines_of(out)
    assert len(expected) == 80
    assert figures_of(out) == expected
    assert max(map(len, lines)) <= 90
    assert any(re.match(r" *setting, by data +set0 +set1", line) for line in lines)
    assert sum("control" in line and len(NUMBERS.findall(line)) == 2 for line in lines) == 40


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_that_is_wide_and_long_comes_in_blocks_of_columns(
    outputs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    many_settings(outputs, data=8, settings=9)
    expected = figures_of(table(capsys, "pgr", "format=markdown"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    out = table(capsys, "pgr")
    lines = lines_of(out)
    assert figures_of(out) == expected
    assert max(map(len, lines)) <= 100
    heads = [line for line in lines if re.match(r" *data +(naive|control)", line)]
    assert len(heads) > 2
    assert all(sum(line.split()[:1] == [f"set{number}"] for line in lines) == len(heads) for number in range(8))
    assert re.findall(r"control\d+", "\n".join(lines)) == [f"control{n:02d}" for n in range(9)]
    monkeypatch.setenv("COLUMNS", "12")  # not even one column fits: whole, for the terminal to wrap
    assert figures_of(table(capsys, "pgr")) == expected


def test_a_text_file_has_the_width_of_a_page_whatever_the_terminal(
    outputs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_settings(outputs, data=2, settings=40)
    written = []
    for columns in ("40", "4000"):
        monkeypatch.setenv("COLUMNS", columns)
        table(capsys, "pgr", "out=table.txt")
        written.append(Path("table.txt").read_text())
    assert written[0] == written[1]
    assert len(written[0].splitlines()) > 40


def test_a_setting_says_how_many_rounds_it_had_unless_they_are_the_default(outputs: Path, capsys: Any) -> None:
    rounds = [{"method": "strong_to_strong", "rounds": number, "evaluates": "pgr[0]"} for number in (2, 3)]
    several = [{"method": "co_supervised", "ensemble": 3, "rounds": number} for number in (2, 4)]
    jobs = [job(fields=fields, levels=(0.6, 0.7 + 0.02 * n, 0.9)) for n, fields in enumerate([*rounds, *several])]
    store_run(outputs, jobs, name="100000-a-11111111")
    found = cells(capsys, "settings", "metric=student")
    assert {one["setting"] for one in found} == {
        "strong_to_strong, xent, pgr[0]",
        "strong_to_strong rounds 3, xent, pgr[0]",
        "co_supervised 3, xent",
        "co_supervised 3 rounds 4, xent",
    }
    assert len(found) == 4
    assert "rounds" not in found[0]  # no column of their own beside it
    assert "co_supervised 3 rounds 4" in {one["setting"] for one in cells(capsys, "losses", "tests=none")}


def test_one_setting_and_one_cell_are_spoken_of_in_the_singular(outputs: Path, capsys: Any) -> None:
    jobs = [job(data=f"set{n}", loss=loss) for n in range(2) for loss in ("xent", "kl")]
    store_run(outputs, [*jobs, job(fields={"control": "random_labels"})], name="100000-a-11111111")
    assert "1 setting with one loss only is left out; tests=none shows it." in table(capsys, "losses")
    filled = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0), (4, 1), (4, 2)]  # of 5 × 4
    store_run(outputs, [job(data=f"d{d}", strong=f"s{s}") for d, s in filled], name="110000-b-22222222")
    words = ("rows=data", "columns=strong", "metric=student")
    assert "\n1 more cell is missing;" in table(capsys, *words, "data=d0,d1,d2,d3,d4")


def test_results_of_an_unfinished_sweep_keep_their_own_configuration(outputs: Path, capsys: Any) -> None:
    jobs = [job(strong="a", lr=1e-5), job(strong="b", lr=2e-5), job(strong="c", lr=3e-5)]
    store_run(outputs, jobs, name="100000-a-11111111", finished=[False, True, True])
    found = cells(capsys, "rows=strong,strong.lr", "metric=student")
    assert [(one["strong"], one["strong.lr"]) for one in found] == [("b", "2e-05"), ("c", "3e-05")]


def test_any_field_of_a_result_makes_rows_and_the_others_split_the_shipped_tables(outputs: Path, capsys: Any) -> None:
    jobs = [job(fields={"control": name}, seed=seed) for seed, name in enumerate((None, "random"))]
    store_run(outputs, jobs[:1], name="100000-a-11111111")
    store_run(outputs, jobs[1:], name="110000-a-22222222")
    assert [one["control"] for one in cells(capsys, "rows=control", "metric=student")] == ["random", "-"]
    assert {one["setting"] for one in cells(capsys, "pgr")} == {"naive, xent", "naive, xent, control random"}
    assert {one["control"] for one in cells(capsys, "methods")} == {"-", "random"}
    assert all(one["settings"] == 1 for one in cells(capsys, "methods", "metric=student"))


def test_every_format_says_the_same_and_escapes_its_own_signs(outputs: Path, capsys: Any) -> None:
    name = "a|b_c & 50%"
    store_run(outputs, [job(data=name), job(data="plain", loss="logconf")], name="100000-a-11111111")
    found = cells(capsys, "rows=data", "columns=loss", "metric=student")
    rows = list(csv.DictReader(io.StringIO(table(capsys, "rows=data", "columns=loss", "metric=student", "format=csv"))))
    assert [row["data"] for row in rows] == [cell["data"] for cell in found]
    assert [row["value"] for row in rows] == ["" if c["value"] is None else str(c["value"]) for c in found]
    assert [row["keys"].split() for row in rows] == [cell["keys"] for cell in found]
    table(capsys, "rows=data", "columns=loss", "metric=student", "out=made.parquet")
    assert pq.read_table("made.parquet").to_pylist() == [
        {n: v for n, v in cell.items() if v is not None} | {n: None for n, v in cell.items() if v is None}
        for cell in found
    ]
    markdown = table(capsys, "rows=data", "columns=loss", "metric=student", "format=markdown")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert r"a\|b\_c \& 50%" in markdown
    latex = table(capsys, "rows=data", "columns=loss", "metric=student", "format=latex")
    assert r"a\textbar{}b\_c \& 50\%" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    assert [latex.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == sorted(
        latex.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")
    )
    value = next(cell["value"] for cell in found if cell["data"] == name and cell["value"] is not None)
    for text in (markdown, latex, table(capsys, "rows=data", "columns=loss", "metric=student")):
        assert f"{value:.3f} [" in text
    for suffix, start in ((".md", "**"), (".tex", "%"), (".csv", "data,"), (".json", "{"), (".txt", "results")):
        assert table(capsys, "rows=data", "metric=student", f"out=made{suffix}").strip() == f"made{suffix}"
        assert Path(f"made{suffix}").read_text().startswith(start)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prg"], 'there is no table "prg". Did you mean "pgr"?'),
        (["mine.yaml"], "mine.yaml does not exist"),
        (["rows=dta"], 'no result has a field "dta". Did you mean "data"?'),
        (["rows=strong.lrr"], 'no result has a field "strong.lrr". Did you mean "strong.lr"?'),
        (["row=data"], 'no result has a field "row"'),
        (["metric=acuracy"], 'no result has a metric "acuracy". Did you mean "accuracy"?'),
        (["metric=student.interval.low"], "no result has a metric"),
        (["metric="], "metric is empty"),
        (["rows=", "columns="], "a table needs rows or columns"),
        (["data=scq"], 'no result has data "scq". Known: sciq.'),
        (["seed=7"], 'no result has seed "7"'),
        (["where=xent"], "write FIELD=VALUE"),
        (["aggregate=max"], "choose one of median, median_runs, mean"),
        (["baselines=all"], "choose one of per_seed, mean"),
        (["format=excel"], "choose one of text, markdown"),
        (["digits=many"], "a number up to 10"),
        (["intervals=maybe"], "true or false"),
        (["out=made.xlsx"], "the suffix gives the format"),
        (["out=nowhere/made.md"], "cannot be written (No such file or directory)"),
        (["format=parquet"], "needs a file: set out=FILE.parquet"),
        (["losses", "tests=xent"], "write COLUMN:COLUMN"),
        (["losses", "tests=xent:other"], 'the table has no column "other"'),
        (["pgr", "2026-13-01"], 'no run is called "2026-13-01"'),
        (["--outputs", "elsewhere"], "holds no stages"),
    ],
)
def test_a_wrong_word_is_one_message_and_exit_code_2(outputs: Path, capsys: Any, words: list[str], said: str) -> None:
    store_run(outputs, [job()], name="100000-a-11111111")
    assert dispatch(["table", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_results_and_a_broken_table_file_are_errors(outputs: Path, capsys: Any) -> None:
    assert dispatch(["table"]) == 2
    assert "holds no results yet" in capsys.readouterr().err
    for text, said in (
        ("rows: [", "cannot be read"),
        ("[data]", "is no mapping"),
        ("rws: [data]", 'unknown option "rws"'),
        ("where: 3", "`where` is"),
    ):
        Path("mine.yaml").write_text(text + "\n")
        assert dispatch(["table", "mine.yaml"]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(UserError, match="holds no results"):
        w2s_cli.load(outputs)


def test_a_users_own_table_comes_first_and_words_come_over_it(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "table").mkdir(parents=True)
    (tmp_path / "mine" / "table" / "pgr.yaml").write_text(
        "about: mine\nrows: [strong]\nwhere: {loss: xent, data: [a, b]}\n"
    )
    made = read_request(
        ["pgr", "sweeps/", "where=loss=logconf,window,data=c", "strong.lr=3e-5"], str(tmp_path / "mine")
    )
    assert (made.about, made.rows, made.runs) == ("mine", ["strong"], ["sweeps/"])
    assert made.where == {"loss": ["logconf", "window"], "data": ["c"], "strong.lr": ["3e-5"]}


def test_options_may_stand_between_the_words_and_lists_are_found_by_an_item(outputs: Path, capsys: Any) -> None:
    jobs = [job(fields={"ladder": ["gpt2", "opt"]}), job(fields={"ladder": ["gpt2"]}, loss="logconf")]
    store_run(outputs, jobs, name="100000-a-11111111")
    out = table(capsys, "rows=ladder", "--cells", "metric=student", "outputs=outputs", "ladder=opt")
    assert re.search(r"^gpt2, opt +0\.\d{3} \[", out, re.MULTILINE)
    assert "Stages behind each cell" in out
    assert len(cells(capsys, "rows=ladder", "ladder=gpt2", "metric=student")) == 2


def test_only_the_named_runs_are_read(outputs: Path, capsys: Any) -> None:
    store_run(outputs, [job()], name="100000-a-11111111")
    store_run(outputs, [job(data="boolq")], name="110000-b-22222222")
    assert [one["data"] for one in cells(capsys, "pgr", "110000-b")] == ["boolq"]
    assert [one["data"] for one in cells(capsys, "pgr", "outputs/runs/2026-01-01/100000-a-11111111")] == ["sciq"]
    assert len(w2s_cli.load(outputs)) == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (0.005, "0.005"),
        ("a/b-c.jsonl", "a/b-c.jsonl"),
        ("null", "'null'"),
        ("1e-5", "'1e-5'"),
        ("Q: {q}", "'Q: {q}'"),
        ("it's", r"'it\'s'"),
        ({"train": "x", "test": None}, "{train:x,test:null}"),
        ([{"name": "gpt2", "lr": 1}, {"name": "opt"}], "[gpt2,opt]"),
    ],
)
def test_values_are_written_as_hydra_reads_them(value: object, words: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert written(value) == words
    read = OverridesParser.create().parse_override(f"x={words}").value()
    expected = ["gpt2", "opt"] if isinstance(value, list) else value
    assert (str(read) if isinstance(value, str) else read) == expected


def test_the_command_of_a_missing_cell_keeps_what_the_run_set_over_its_models(outputs: Path, capsys: Any) -> None:
    shared = ["data.limits.strong_train=300", "student.epochs=1.0", "train.epochs=4.0"]
    runs = [
        ("wordnet-xs", "wordnet-l", ["strong.max_length=64"]),
        ("wordnet-s", "wordnet-m", ["strong.max_length=16", "weak.lr=0.01"]),
    ]
    for number, (weak, strong, own) in enumerate(runs):
        words = [f"weak={weak}", f"strong={strong}", *own, *shared]
        one = job(data="wordnet_living", weak=weak, strong=strong, words=words)
        store_run(outputs, [one], name=f"10000{number}-a-{number}")
    out = table(capsys, "pairs", "metric=student", "rows=weak")
    given = [shlex.split(line.partition("Fill it: ")[2])[2:] for line in out.splitlines() if "] missing: " in line]
    assert [sorted(words) for words in given] == [
        sorted(["weak=wordnet-s", "strong=wordnet-l", "strong.max_length=16", "weak.lr=0.01", *shared]),
        sorted(["weak=wordnet-xs", "strong=wordnet-m", "strong.max_length=64", *shared]),
    ]


def sized_run(outputs: Path, names: list[str], rule: str, **given: Any) -> None:
    """A sweep over all pairs of these models that fit the rule; the k-th has k million parameters."""
    size = {name: place for place, name in enumerate(names, start=1)}
    kept = [(w, s) for w in names for s in names if rule == "all" or size[w] + (rule == "strict") <= size[s]]
    jobs = [job(weak=weak, strong=strong, **given) for weak, strong in kept]
    folder = store_run(outputs, jobs, name=f"100000-{rule}-{'-'.join(names)}")
    configs = list(yaml.safe_load_all((folder / "config.yaml").read_text()))
    for config in configs:
        config["pairs"] = rule
        for role in ("weak", "strong"):
            config[role]["parameters"] = size[config[role]["name"]]
    (folder / "config.yaml").write_text(yaml.safe_dump_all(configs, sort_keys=False))


def empty(capsys: Any, *words: str) -> dict[tuple[str, str], str]:
    """(weak, strong) → flag of the cells of `w2s table pairs` without a figure."""
    found = cells(capsys, "pairs", "metric=student", *words)
    return {(one["weak"], one["strong"]): one["flag"] for one in found if one["value"] is None}


@pytest.mark.parametrize("rule", ["upper", "strict"])
def test_a_pair_that_the_sweeps_rule_leaves_out_is_not_missing(outputs: Path, capsys: Any, rule: str) -> None:
    sized_run(outputs, ["a", "b", "c"], rule)
    expected = {"upper": [("b", "a"), ("c", "a"), ("c", "b")], "strict": [("b", "b")]}[rule]
    assert empty(capsys) == dict.fromkeys(expected, "left out")
    out = table(capsys, "pairs", "metric=student")
    assert "missing" not in out
    assert "[1]" not in out
    count = f"{len(expected)} cell{'s' if len(expected) > 1 else ''}"
    assert f"–: left out by pairs={rule} ({count})." in out
    assert json.loads(table(capsys, "pairs", "metric=student", "format=json"))["missing"] == []


def test_a_pair_that_fits_the_rule_or_was_under_none_is_missing(outputs: Path, capsys: Any) -> None:
    sized_run(outputs, ["a", "b"], "upper")
    store_run(outputs, [job(weak="z", strong="z")], name="110000-z")  # a run of its own, of unknown size
    found = empty(capsys)
    assert found.pop(("b", "a")) == "left out"
    assert set(found.values()) == {"missing"}
    assert set(found) == {("a", "z"), ("b", "z"), ("z", "a"), ("z", "b")}
    out = table(capsys, "pairs", "metric=student")
    assert out.count("] missing: ") == 4
    assert "left out by pairs=upper (1 cell)" in out


def test_the_command_of_a_missing_cell_fills_it(real_runs: Path, tmp_path: Path) -> None:  # noqa: F811
    shutil.copytree(real_runs, tmp_path / "copy", symlinks=True)
    folder = tmp_path / "copy"
    words = ("table", "rows=loss", "columns=seed", "metric=student")
    out = run_w2s(folder, *words).stdout
    assert out.count("–[1]") == 1
    (line,) = (line for line in out.splitlines() if line.startswith("[1] missing: logconf, 1. Fill it: "))
    given = shlex.split(line.partition("Fill it: ")[2])
    plan = run_w2s(folder, "plan", *given[2:]).stdout
    assert "student" in plan
    run_w2s(folder, *given[1:])
    filled = run_w2s(folder, *words).stdout
    assert "missing" not in filled
    assert re.search(r"^logconf +0\.\d{3} \[.*\] +0\.\d{3} \[", filled, re.MULTILINE)


def test_a_cell_leads_to_records_configurations_rows_and_commit(real_runs: Path) -> None:  # noqa: F811
    out = run_w2s(real_runs, "table", "methods", "loss=xent", "--cells").stdout
    keys = re.findall(r"\b[0-9a-f]{12}\b", out)
    assert len(keys) == 2  # seeds 0 and 1, from two commands
    shown = run_w2s(real_runs, "show", keys[0]).stdout
    config = re.search(r"(\S+/config\.yaml)", shown)
    assert config is not None
    assert "path: animals.jsonl" in Path(config[1]).read_text()
    assert "result/predictions.parquet" in shown
    why = run_w2s(real_runs, "why", keys[0]).stdout
    for needed in ("configured in outputs/", "rows:test (rows", "data sha256=", "rows.parquet sha256=", "loss xent"):
        assert needed in why
    assert re.search(r"made by run \S+, (commit [0-9a-f]{12}|no git checkout)", why)


def test_results_load_with_every_field_for_a_notebook(real_runs: Path) -> None:  # noqa: F811
    rows = w2s_cli.load(real_runs / "outputs")
    assert {"run", "weak", "loss", "seeds", "key", "student_auroc", "pgr_flag", "agreement"} <= set(rows[0])
    (sweep,) = {Path(p) for p in (real_runs / "outputs" / "sweeps").glob("*/*")}
    assert [row["loss"] for row in w2s_cli.load(sweep)] == ["xent", "logconf"]


def test_loaded_results_say_their_setting_and_what_varies(outputs: Path, capsys: Any) -> None:
    jobs = [job(lr=1e-5), job(lr=1e-4), job(strong="opt", lr=0.5, fields={"control": "random_labels"})]
    folder = store_run(outputs, jobs, name="100000-a-1")
    entries = read_entries(folder)
    del entries[2]["metrics"]["pgr"]
    write_entries(folder, entries)
    rows = w2s_cli.load(outputs)
    assert [row["setting"] for row in rows] == ["naive, xent", "naive, xent", "naive, xent, control random_labels"]
    assert [row["strong.lr"] for row in rows] == [1e-5, 1e-4, 0.5]
    assert [name for name in rows[0] if "." in name] == ["strong.lr"]
    assert isinstance(rows[0]["pgr"], float)
    assert [rows[2][name] for name in ("pgr", "pgr_low", "pgr_high", "pgr_flag")] == [None] * 4
    with pytest.raises(UserError, match='no run is called "elsewhere"'):
        w2s_cli.load("elsewhere")


def test_show_of_a_run_says_that_it_is_one(outputs: Path, capsys: Any) -> None:
    folder = store_run(outputs, [job()], name="100000-a-11111111")
    for name in ("100000-a-11111111", str(folder), "100000-a"):
        assert dispatch(["show", name]) == 2
        said = capsys.readouterr().err
        assert said.startswith("w2s: 100000-a-11111111 is a run")
        assert all(f"w2s {word} 100000-a-11111111" in said for word in ("report", "diff", "table"))
    assert dispatch(["show", "nothing"]) == 2
    assert 'begins with "nothing"' in capsys.readouterr().err


def test_a_store_of_10000_stages_makes_its_table_at_once(outputs: Path, tmp_path: Path) -> None:
    first = store_run(outputs, [job(seed=0), job(seed=1)], name="100000-a-11111111", rows=50)
    entries = read_entries(first)
    config = (first / "config.yaml").read_text().split("---\n")[0]
    big, plan, configs = [], [], []
    for number in range(700):
        keys = [f"{number:04x}{seed}0000000" for seed in range(2)]
        for entry, key in zip(entries, [*keys, f"{number:04x}f0000000"], strict=True):
            big.append({**entry, "key": key, "data": f"set{number}", "family": f"family{number}"})
        plan += [{"name": "pgr", "kind": "evaluate", "key": key, "inputs": {"weak": key}} for key in keys]
        plan.append({"name": "summary", "kind": "summary", "key": f"{number:04x}f0000000", "inputs": {"runs": keys}})
        configs += [
            config.replace("name: sciq", f"name: set{number}").replace("seed: 0\nseeds", f"seed: {s}\nseeds")
            for s in (0, 1)
        ]
    for number in range(10_000):
        (outputs / "stages" / ("label" if number % 2 else "finetune") / f"s-{number:012x}").mkdir(parents=True)
    folder = outputs / "sweeps" / "2026-01-02" / "big"
    folder.mkdir(parents=True)
    write_entries(folder, big)
    (folder / "plan.json").write_text(json.dumps({"format": FORMAT, "stages": plan}))
    (folder / "config.yaml").write_text("---\n".join(configs))
    begun = time.monotonic()
    out = run_w2s(tmp_path, "table", "methods").stdout
    taken = time.monotonic() - begun
    assert len([line for line in out.splitlines() if line.startswith("set")]) == 700
    assert taken < 3, f"{taken:.2f} s"


def test_a_table_starts_without_heavy_libraries(outputs: Path, tmp_path: Path) -> None:
    store_run(outputs, [job()], name="100000-a-11111111")
    code = (
        "import sys; from w2s_cli.cli import dispatch; assert dispatch(['table']) == 0; "
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas', 'hydra', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
