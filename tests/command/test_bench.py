"""The benchmark's harness: fair programs, records, the page it writes, and a check that notices a regression."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks import __main__ as bench
from scripts.benchmarks import comparing, document, material, settings, stored, texts
from scripts.benchmarks.parts import store
from scripts.benchmarks.processes import ProcessFailed, Took, run
from scripts.benchmarks.programs import operations, ours, peak, reference, stages
from scripts.benchmarks.records import Record, paired_interval, record, regressions
from tests.stored_results import run_w2s


def test_texts_are_the_same_anywhere_and_as_long_as_asked() -> None:
    from tokenizers import Tokenizer

    made = list(texts.rows(300, 60))
    assert made[200:] == list(texts.rows(300, 60))[200:]
    assert made[:50] == list(texts.rows(50, 60))
    tokenizer = Tokenizer.from_file(str(texts.BUNDLED / "models" / "wordnet-l" / "tokenizer.json"))
    lengths = [len(code.ids) for code in tokenizer.encode_batch([row["text"] for row in made])]
    assert 55 < sum(lengths) / len(lengths) < 85  # a text ends with a whole entry
    assert max(lengths) > 2 * sum(lengths) / len(lengths)  # a few are long, as reviews are
    assert 0.4 < sum(row["label"] for row in made) / len(made) < 0.6


@pytest.mark.slow
def test_w2s_and_the_reference_loop_have_the_same_test_rows_right(tmp_path: Path) -> None:
    small = settings.Settings(
        "tiny", tmp_path, 1, mean_tokens=40, train_rows=64, test_rows=64, pool_rows=8, batch=8, max_length=96, lr=1e-3
    )
    said: dict[str, dict[str, Any]] = {}
    for name, program in (("ours", ours), ("reference", reference)):
        folder = tmp_path / name
        folder.mkdir()
        said[name] = program.work({**material.job(small, "wordnet-s"), "work": str(folder)})
    assert said["ours"]["right"] == said["reference"]["right"]
    assert said["ours"]["accuracy"] > 0.55  # something was learned, so that the agreement says something
    assert said["ours"]["train_cpu_s"] > 0
    assert said["reference"]["train_cpu_s"] > 0


def test_probes_have_the_same_test_rows_right(tmp_path: Path) -> None:
    job = material.job(settings.tiny(tmp_path), "wordnet-s", ("train", "test"), probe=1, lr=1e-2)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = ours.work({**job, "work": str(tmp_path / "a")})
    other = reference.work({**job, "work": str(tmp_path / "b")})
    assert one["right"] == other["right"]


def test_what_the_stopwatches_time_exists() -> None:
    for place, function, _ in stages.TIMED:
        assert callable(getattr(importlib.import_module(f"w2s_cli.{place}"), function))


def test_operations_are_counted_from_the_shapes(tmp_path: Path) -> None:
    job = material.job(settings.tiny(tmp_path), "gpt2-2x128", ("train",))
    said = operations.work(job)
    assert said["matrix_weights"] == 2 * 12 * 128**2  # two layers: 4·d² of attention, 8·d² of the feed-forward part
    tokens = said["train_tokens"]
    assert said["train_flops"] > 6 * tokens * said["matrix_weights"]
    assert said["all_flops"] == said["train_flops"]
    found = peak.work({"device": "cpu", "size": 64, "tries": 1, "products": 2})
    assert all(value > 0 for value in found.values())


def test_programs_take_turns_and_pairs_are_compared() -> None:
    order: list[str] = []

    def program(name: str, seconds: float) -> comparing.Measure:
        def measure(repeat: int) -> Took:
            order.append(f"{name}{repeat}")
            return Took(1.0, seconds * (repeat + 1), 10.0)

        return measure

    runs = comparing.in_turn({"a": program("a", 1.0), "b": program("b", 3.0)}, 3, lambda line: None)
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert comparing.ratios(runs["b"], runs["a"]) == [3.0, 3.0, 3.0]
    assert comparing.medians(runs["b"])["cpu_s"] == 6.0


def test_a_process_is_measured_with_its_children_and_its_failure_is_told(tmp_path: Path) -> None:
    child = "sum(i * i for i in range(3_000_000))"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    took = run(["python3", "-c", nested], 1, tmp_path)
    alone = run(["python3", "-c", "pass"], 1, tmp_path)
    assert took.cpu_s > alone.cpu_s + 0.05
    assert took.peak_mib > 1
    with pytest.raises(ProcessFailed, match="ended with 3"):
        run(["python3", "-c", "raise SystemExit(3)"], 1, tmp_path)


def test_a_target_is_met_or_missed() -> None:
    assert record("p", "ratio", [2.0, 3.0, 4.0], "×", target=2.5).met is True
    assert record("p", "ratio", [2.0, 2.2, 9.0], "×", target=2.5).met is False
    assert record("p", "waits", [0.4], "s", better="less", target=0.5).met is True
    assert record("p", "ratio", [2.0], "×").met is None


def test_the_paired_interval_is_students() -> None:
    low, high = paired_interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(2.0)
    assert high - low == pytest.approx(2 * 4.302653 / 3**0.5, rel=1e-6)  # t of 2 degrees of freedom, sd 1
    assert paired_interval([1.0]) is None


@pytest.mark.parametrize(
    ("unit", "better", "before", "now", "worse"),
    [
        ("×", "more", 4.0, 3.3, False),
        ("×", "more", 4.0, 3.1, True),
        ("×", "more", 4.0, 9.0, False),
        ("share", "less", 1.0, 1.3, True),
        ("share", "less", 0.0, 0.01, False),  # growth of next to nothing
        ("share", "less", -0.03, 0.015, False),
        ("count", "less", 0.0, 1.0, True),
        ("s", "less", 1.0, 9.0, False),  # seconds are the machine's
    ],
)
def test_more_than_a_fifth_worse_is_a_regression(
    unit: str, better: str, before: float, now: float, worse: bool
) -> None:
    old, new = (Record("part", "name", value, unit, better=better) for value in (before, now))
    found = regressions([old], [new])
    assert bool(found) == worse
    assert not worse or "part: name" in found[0]
    assert regressions([], [new]) == []


def test_the_page_shows_every_number_its_target_and_where_it_was_measured(tmp_path: Path) -> None:
    runs = {"w2s": [Took(1.0, 2.0, 300.0, {"accuracy": 0.75})], "loop": [Took(9.0, 8.0, 900.0, {"accuracy": 0.75})]}
    found = [
        record("probe", "one head", [3.5, 4.0, 4.5], "×", target=6.0, detail=comparing.side_by_side(**runs)),
        record("probe", "other rows", [0], "rows", better="less", target=1),
        Record("probe", "accuracy", 0.5, "points", -1.0, 2.0, met=True),
    ]
    told = stored.circumstances(["probe"], 1)
    stored.keep(tmp_path / "benchmarks.json", "quick", "probe", found, told)
    stored.keep(tmp_path / "benchmarks.json", "quick", "gpu", [], told)
    page = document.markdown(stored.read(tmp_path / "benchmarks.json"), bench.headings())
    assert "| probe: one head | 4 × | 3.5 – 4.5 | ≥ 6 | **no** |" in page
    assert "| other rows | 0 rows |  | ≤ 1 | yes |" in page
    assert "| accuracy | 0.5 points | -1 – 2 | 0 within the interval | yes |" in page
    assert "| loop | 8.0 | 9.0 | 900 | 0.750 |" in page
    assert f"torch {told['libraries']['torch']}" in page
    assert "Not measured: this machine has no GPU." in page
    assert [asdict(one) for one in stored.records(stored.read(tmp_path / "benchmarks.json"), "quick", "probe")] == [
        asdict(one) for one in found
    ]


@pytest.mark.slow
def test_a_store_is_filled_with_stages_that_commands_read(tmp_path: Path) -> None:
    run_w2s(tmp_path, "train", *store.RUN)
    made = store.fill(tmp_path / "outputs", 40)
    assert made >= 40
    listed = run_w2s(tmp_path, "ls").stdout.splitlines()
    assert sum("done" in line for line in listed) == made
    assert "set3" in run_w2s(tmp_path, "table").stdout
    key = next((tmp_path / "outputs" / "stages" / "finetune").glob("student-*")).name[-12:]
    assert "damaged" not in run_w2s(tmp_path, "show", key).stdout


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["nonsense"])
    assert "there is no part nonsense" in capsys.readouterr().err


@pytest.mark.slow
def test_a_planted_regression_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["probe", "--size", "tiny", "--work", str(tmp_path / "work"), "--docs", str(tmp_path)]
    assert bench.main(words) == 0
    assert "### Linear probes" in (tmp_path / "benchmarks.md").read_text()
    path = tmp_path / "benchmarks.json"
    written = json.loads(path.read_text())
    (processor,) = written
    (ratio,) = (one for one in written[processor]["tiny"]["probe"]["records"] if "fp32, one head" in one["name"])
    assert ratio["target"] is None  # targets are for the full size
    assert "MISSED" not in capsys.readouterr().out
    ratio["value"] *= 5
    path.write_text(json.dumps(written))
    assert bench.main([*words, "--check"]) == 1
    assert (
        "probe: wordnet-s, fp32, one head, times less CPU than the reference loop"
        in capsys.readouterr().out.split("worse than stored")[1]
    )
    assert json.loads(path.read_text()) == written  # a check writes nothing
    path.write_text(json.dumps({"Another (family 1, model 1)": written[processor]}))
    assert bench.main([*words, "--check"]) == 0
    said = capsys.readouterr().out
    assert f"no record of probe at size tiny on {processor}, only of: Another (family 1, model 1)" in said
