"""What a user reads at the end of a run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from w2s_cli.results.text_table import plain, print_table, results_notes, results_table, rich_table
from w2s_cli.statistics.report import ROLES, Predictions, report


def metrics(accuracies=(0.6, 0.75, 0.9), seeds=1, rows=400, roles=ROLES):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, rows)
    said = {}
    for role, accuracy in zip(roles, accuracies, strict=True):
        classes = np.where(rng.random((seeds, rows)) < accuracy, truth, 1 - truth)
        p = np.stack([0.7 - 0.4 * classes, 0.3 + 0.4 * classes], axis=-1)
        said[role] = Predictions(p, np.log(p))
    return report(truth, said, draws=200, confidence=0.95)


def test_every_role_and_pgr_stand_with_an_interval():
    found = metrics()
    table = {row[0]: row for row in results_table(found)}
    for role in ROLES:
        low, high = found[role]["interval"]
        assert table[role][1:3] == [f"{found[role]['accuracy']:.3f}", f"[{low:.3f}, {high:.3f}]"]
    low, high = found["pgr"]["interval"]
    assert table["PGR"][1:3] == [f"{found['pgr']['value']:.2f}", f"[{low:.2f}, {high:.2f}]"]
    assert {"  where it is right", "  where it is wrong"} <= set(table)


def test_one_seed_is_said_to_hold_test_row_noise_only():
    assert "One seed, 400 test rows" in results_notes(metrics())[0]
    assert "test-row noise only" in results_notes(metrics())[0]


def test_seeds_are_shown_one_by_one_with_both_kinds_of_pgr():
    found = metrics(seeds=3)
    header, weak, *_ = results_table(found)
    assert header[-1] == "per seed"
    assert weak[-1] == " ".join(f"{value:.3f}" for value in found["weak"]["per_seed"]["accuracy"])
    assert f"mean of the seeds' ratios is {found['pgr']['mean_of_ratios']:.2f}" in results_notes(found)[-1]


def test_a_gap_that_is_noise_is_said_and_no_bounds_are_shown():
    found = metrics(accuracies=(0.7, 0.7, 0.7))
    assert next(row for row in results_table(found) if row[0] == "PGR")[1:3] == ["no gap", "-"]
    reason = "no gap: the ceiling does not beat the weak supervisor, or the method's floor, by more than noise"
    assert any(reason in note for note in results_notes(found))


def test_without_a_weak_supervisor_the_table_has_the_other_rows():
    found = metrics(accuracies=(0.7, 0.8), roles=("student", "ceiling"))
    assert [row[0] for row in results_table(found)] == ["", "student", "ceiling"]
    assert len(results_notes(found)) == 1


def test_plain_text_is_aligned_figures_to_the_right_and_words_to_the_left():
    assert plain([["stage", "seconds"], ["weak", "1.5"], ["student", "12.0"]]) == (
        "stage    seconds\nweak         1.5\nstudent     12.0"
    )


def test_rich_shows_brackets_as_they_are():
    from rich.console import Console

    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(rich_table([["", "interval"], ["weak", "[0.1, 0.2]"], ["x", "[red]"]], "results"))
    assert "[0.1, 0.2]" in captured.get()
    assert "[red]" in captured.get()


def test_output_that_is_no_terminal_is_plain(capsys):
    print_table([["a", "b"], ["x", "1"]], "title", ["a note"])
    assert capsys.readouterr().out == "title\na  b\nx  1\na note\n"


@pytest.mark.parametrize(
    "module", ["w2s_cli.results.text_table", "w2s_cli.results.figures", "w2s_cli.statistics.planning"]
)
def test_what_fast_commands_import_brings_no_heavy_package(module):
    code = f"import sys, {module}; print([m for m in ('numpy', 'rich', 'pyarrow', 'matplotlib') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], env=os.environ, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
