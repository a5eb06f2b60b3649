"""The commands around a run: what they say about it, and what they leave when they remove something."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment, sentences, without_weak, write_jsonl
from w2s_cli import load
from w2s_cli.commands import doctor

Run = Callable[..., subprocess.CompletedProcess[str]]


def folder_of(tmp_path: Path, pattern: str) -> Path:
    """The one stage folder that fits."""
    (found,) = (tmp_path / "outputs" / "stages").glob(pattern)
    return found


def test_a_finished_run_leaves_its_config_plan_results_and_links(ran: list[str], tmp_path: Path) -> None:
    (run,) = (tmp_path / "outputs" / "runs").glob("*/*")
    assert {path.name for path in run.iterdir()} == {"config.yaml", "plan.json", "results.json", "stages"}
    (entry,) = json.loads((run / "results.json").read_text())["entries"]
    assert set(entry["metrics"]) >= {"weak", "student", "ceiling", "pgr", "agreement"}
    links = list((run / "stages").iterdir())
    assert len(links) == 11
    assert all((link / "record.json").exists() and not os.path.isabs(os.readlink(link)) for link in links)


def test_the_same_command_again_runs_nothing_and_prints_the_same(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").glob("stages/*/*/record.json")}
    first, second = w2s_inside("train", *ran).stdout, w2s_inside("train", *ran).stdout
    assert first == second
    assert "PGR" in first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs").glob("stages/*/*/record.json")} == before
    assert len(list((tmp_path / "outputs" / "runs").glob("*/*"))) == 1


@pytest.mark.slow
def test_label_stops_at_the_weak_labels_and_train_goes_on_from_there(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    w2s_inside("label", *tiny)
    assert {path.parent.name for path in (tmp_path / "outputs").glob("stages/*/*/record.json")}
    assert not list((tmp_path / "outputs" / "stages").glob("finetune/student-*/record.json"))
    assert len(list((tmp_path / "outputs" / "stages").glob("label/*/record.json"))) == 1
    w2s_inside("train", *tiny)
    w2s_inside("evaluate", *tiny)


def test_ls_of_damaged_stages_reads_their_files(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    assert len(w2s_inside("ls", "--state", "damaged").stdout.splitlines()) == 1
    weights = folder_of(tmp_path, "finetune/student-*") / "result/model/model.safetensors"
    weights.unlink()  # it may be a link to the file of another test
    weights.write_bytes(b"cut")
    listed = w2s_inside("ls", "--state", "damaged").stdout
    assert weights.parents[2].name[-12:] in listed
    assert len(listed.splitlines()) == 2


def test_ls_show_why_status_and_logs_tell_of_a_stage(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    student = folder_of(tmp_path, "finetune/student-*")
    key = student.name[-12:]
    assert len(w2s_inside("ls").stdout.splitlines()) == 12
    assert key in w2s_inside("ls", "finetune", "--state", "done").stdout
    shown = w2s_inside("show", key[:6]).stdout
    assert "lr: 0.005" in shown
    assert "torch" in shown
    written = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    assert f"  step {written[0]['step']}: {written[0]['loss']:.4g}" in shown
    assert f"  step {written[-1]['step']}: {written[-1]['loss']:.4g}" in shown
    assert json.loads(w2s_inside("show", key, "--json").stdout)["state"] == "done"
    why = w2s_inside("why", key).stdout
    assert "labels" in why
    assert "sha256=" in why
    assert "11 done" in w2s_inside("status").stdout
    assert student.name in w2s_inside("logs", key, "-f").stdout
    newest = w2s_inside("logs").stdout.splitlines()
    assert len(newest) > 1, "the stage with a line, not the comparison that ended last"
    pgr = folder_of(tmp_path, "evaluate/*-s0-*")
    assert w2s_inside("logs", pgr.name[-12:]).stdout == f"{pgr.name}:\nthe stage wrote no line\n"


def test_rm_makes_a_stage_missing_and_train_makes_it_again(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    test = folder_of(tmp_path, "evaluate/*-s0-*")
    before = (test / "result" / "manifest.json").read_text()
    w2s_inside("rm", test.name[-12:])
    assert not test.exists()
    w2s_inside("train", *ran)
    assert (test / "result" / "manifest.json").read_text() == before


def test_a_finished_stage_that_nobody_reads_is_left_alone_when_its_inputs_are_gone(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    weak = folder_of(tmp_path, "finetune/weak-*")
    w2s_inside("rm", weak.name[-12:])
    w2s_inside("train", *ran)
    assert not weak.exists()


def test_force_makes_a_stage_again_and_leaves_the_rest_when_the_result_is_the_same(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    records = {
        path: json.loads(path.read_text())["run"] for path in (tmp_path / "outputs").glob("stages/*/*/record.json")
    }
    w2s_inside("train", *ran, "--force", "student")
    after = {path: json.loads(path.read_text())["run"] for path in records}
    (changed,) = (path for path in records if records[path] != after[path])
    assert changed.parent.name.startswith("student-")
    assert (changed.parent / "old" / records[changed] / "result" / "manifest.json").exists()


@pytest.mark.slow
def test_keep_weights_false_removes_weights_and_a_later_need_makes_them_again(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    w2s_inside("train", *tiny, "keep_weights=false")
    assert not list((tmp_path / "outputs").glob("stages/finetune/*/result/model/*.safetensors"))
    assert len(list((tmp_path / "outputs").glob("stages/label/*/result/labels.parquet"))) == 4
    w2s_inside("train", *tiny, "keep_weights=false")
    test = folder_of(tmp_path, "label/student-*-test-*")
    before = (test / "result" / "labels.parquet").read_bytes()
    w2s_inside("rm", test.name[-12:], folder_of(tmp_path, "evaluate/*-s0-*").name[-12:])
    assert "its weights were removed" in w2s_inside("plan", *tiny).stdout
    w2s_inside("train", *tiny)
    assert (test / "result" / "labels.parquet").read_bytes() == before


def test_the_plan_says_what_a_model_learns_from_and_counts_shared_stages_only_where_some_are(
    w2s_inside: Run, tiny: list[str]
) -> None:
    one = w2s_inside("plan", *tiny, "data.limits.test=48").stdout
    assert "xent on labels" in one
    assert "xent on truth" in one
    assert "labels=" not in one
    assert "\n11 stages, 11 to run, 0 cached\n" in one
    assert "95 % confidence, noise of test rows only)" in one
    two = w2s_inside("plan", *tiny, "seeds=2").stdout
    assert "\n22 stages (23 asked for, 22 distinct), 22 to run, 0 cached\n" in two  # the test rows are shared
    pinned = w2s_inside("plan", *tiny, "seeds=2", "data.seed=0").stdout
    assert "\n20 stages (23 asked for, 20 distinct), 20 to run, 0 cached\n" in pinned
    rule = w2s_inside("plan", *tiny, "method=selection", "select=confidence").stdout
    assert "confidence of labels" in rule


def weights(outputs: Path) -> list[Path]:
    """The weights of finished models."""
    return sorted(outputs.glob("stages/finetune/*/result/model/*.safetensors"))


@pytest.mark.slow
def test_a_sweep_without_keep_weights_holds_the_models_of_one_job_when_it_is_killed(
    w2s: Run, w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    words = [
        "train",
        *tiny,
        "seeds=3",
        "keep_weights=false",
        "data.limits={weak_train: 48, strong_train: 48, test: 48}",
    ]
    log = tmp_path / "hits"
    killed = w2s(
        *words, code=None, W2S_FAULT="prune.noted:5", W2S_FAULT_LOG=str(log)
    )  # while the second seed's models go
    assert killed.returncode == -signal.SIGKILL
    assert log.read_text() == "prune.noted\n"
    trained = list((tmp_path / "outputs").glob("stages/finetune/*/record.json"))
    assert len(trained) == 6  # the third seed has not begun
    assert len(weights(tmp_path / "outputs")) == 2
    w2s_inside(*words)
    assert len(list((tmp_path / "outputs").glob("stages/finetune/*/record.json"))) == 9
    assert not weights(tmp_path / "outputs")


@pytest.mark.slow
def test_a_failed_stage_keeps_the_model_that_it_needs(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    words = ["train", *tiny, "keep_weights=false"]
    w2s_inside(*words, code=1, W2S_FAULT="evaluate.claimed")
    assert not weights(tmp_path / "outputs")
    w2s_inside("rm", folder_of(tmp_path, "label/student-*-test-*").name[-12:])
    w2s_inside(*words, code=1, W2S_FAULT="label.claimed")
    assert [path.parts[-4].partition("-")[0] for path in weights(tmp_path / "outputs")] == ["student"]
    w2s_inside(*words)
    assert not weights(tmp_path / "outputs")


def test_a_stage_whose_model_lost_its_weights_meanwhile_says_so(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    test, model = folder_of(tmp_path, "label/student-*-test-*"), folder_of(tmp_path, "finetune/student-*")
    (test / "record.json").unlink()
    shutil.rmtree(test / "result")
    w2s_inside("rm", "--weights", model.name[-12:])
    done = subprocess.run(
        [sys.executable, "-m", "w2s_cli.run.worker", str(test)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "removed by another command (keep_weights=false)" in (test / "log.txt").read_text()
    w2s_inside("train", *ran)
    assert weights(tmp_path / "outputs")


@pytest.mark.parametrize("artifact", ["label/*-test-*/result/labels.parquet", "evaluate/*/result/manifest.json"])
def test_a_flipped_byte_is_noticed_and_the_stage_made_again(
    w2s_inside: Run, ran: list[str], tmp_path: Path, artifact: str
) -> None:
    path = sorted((tmp_path / "outputs" / "stages").glob(artifact))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    assert "damaged" in w2s_inside("plan", *ran).stdout
    w2s_inside("train", *ran)
    assert path.read_bytes() == whole


def test_weights_changed_behind_our_back_are_found_by_doctor_verify(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    weights = folder_of(tmp_path, "finetune/student-*") / "result" / "model" / "model.safetensors"
    stat, whole = weights.stat(), weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done = w2s_inside("doctor", "--verify", code=2)
    assert "PROBLEM" in done.stdout
    assert "model.safetensors was changed" in done.stdout


def test_doctor_finds_nothing_wrong_here(w2s: Run) -> None:
    out = w2s("doctor").stdout
    assert "file locks work" in out
    assert "HF_HUB_OFFLINE is set" in out


def test_gc_is_dry_by_default_and_then_removes_only_what_no_run_names(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    w2s_inside("train", *ran, "loss=product")
    runs = sorted((tmp_path / "outputs" / "runs").glob("*/*"), key=lambda path: path.stat().st_mtime)
    assert "nothing to remove" in w2s_inside("gc").stdout
    for path in sorted(runs[-1].rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
    runs[-1].rmdir()
    listed = w2s_inside("gc").stdout
    assert "Nothing was removed" in listed
    assert "student-" in listed
    w2s_inside("gc", "--yes")
    assert len(list((tmp_path / "outputs").glob("stages/*/*/record.json"))) == 11
    assert "PGR" in w2s_inside("train", *ran).stdout


def test_plot_draws_the_latest_run(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    w2s_inside("plot", "--to", "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    assert w2s_inside("plot").stdout.strip().endswith("figure.png")


@pytest.mark.parametrize("words", [["plot", "accuracy"], ["report"]], ids=" ".join)
def test_figures_need_no_backend_of_a_notebook(w2s: Run, ran: list[str], words: list[str]) -> None:
    assert w2s(*words, MPLBACKEND="module://no_such_package.backend_inline").stdout


@pytest.mark.slow
def test_seeds_end_in_one_table_over_seeds(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    out = w2s_inside("train", *ran, "seeds=2").stdout
    assert "seeds 0, 1" in out
    assert "the intervals hold the noise of training rows, training seeds and test rows." in out
    assert out.count("PGR  ") == 1
    status = w2s_inside("status").stdout
    assert all(re.search(rf"student-\S+-s{seed} ", status) for seed in (0, 1))  # not one name for both
    again = w2s_inside("train", "-m", *ran, "seed=0,1").stdout
    assert "the intervals hold the noise of training rows, training seeds and test rows." in again
    assert len(list((tmp_path / "outputs").glob("stages/summary/*/record.json"))) == 1
    pinned = w2s_inside("train", *ran, "seeds=2", "data.seed=0").stdout
    assert "the intervals hold the noise of training seeds and test rows." in pinned
    assert "All seeds have the same training rows (data.seed)" in pinned


def test_labels_from_a_file_need_no_weak_model_and_give_pgr_with_labels_of_the_test_rows(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    rows = [{"id": row["id"], "label": row["label"]} for row in sentences(240)]
    path = write_jsonl(tmp_path / "labels.jsonl", rows)
    words = [*without_weak(tiny), "labels=file", f"labels.path={path}"]
    out = w2s_inside("train", *words).stdout
    assert "\nstudent" in out
    assert "\nPGR" not in out
    assert "No PGR: the label file has no labels of the test rows" in out
    both = w2s_inside("train", *words, f"labels.test_path={path}").stdout
    assert "PGR" in both
    assert not list((tmp_path / "outputs").glob("stages/finetune/weak-*"))


def test_a_loss_of_the_users_own_folder(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "loss").mkdir(parents=True)
    (mine / "losses").mkdir()
    (mine / "loss" / "squared.yaml").write_text("name: squared\n")
    (mine / "losses" / "squared.py").write_text(
        "PER_EXAMPLE = True\n\n\ndef squared(logits, labels, *, progress):\n"
        "    return (logits.softmax(-1) - labels).pow(2).sum(-1).mean()\n"
    )
    assert "squared" in w2s_inside("train", *ran, "--config-dir", str(mine), "loss=squared").stdout


def test_a_finished_model_is_a_plain_folder_that_transformers_loads(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = folder_of(tmp_path, "finetune/student-*") / "result" / "model"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)("the big dog", return_tensors="pt")
    assert model(**tokens).logits.shape == (1, 2)
    assert "w2s" in (folder / "README.md").read_text()


def test_help_names_every_command_and_option(w2s_inside: Run) -> None:
    out = w2s_inside("--help").stdout
    for word in (
        "w2s train weak=gpt2 strong=qwen",
        "doctor",
        "data check",
        "logconf",
        "rotten_tomatoes",
        "qwen3-8b-base",
    ):
        assert word in out
    assert (ROOT / "configs").is_dir()


def test_help_of_a_command_comes_wherever_it_is_asked_for(w2s_inside: Run) -> None:
    for words in (["train", "--help"], ["data", "check", "--help"], ["ls", "--help"], ["plan", "seed=1", "-h"]):
        assert f"w2s {words[0]}" in w2s_inside(*words).stdout


def test_help_may_stand_before_its_command(w2s_inside: Run) -> None:
    for words in (["help", "train"], ["--help", "train"], ["-h", "ls"]):
        assert w2s_inside(*words).stdout == w2s_inside(words[1], "--help").stdout


@pytest.mark.slow
def test_every_command_takes_the_outputs_folder_in_both_forms(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "outputs").rename(tmp_path / "other folder")
    key = next((tmp_path / "other folder" / "stages" / "finetune").glob("weak-*")).name[-12:]
    commands = [
        *(["train", *ran], ["plan", *ran], ["evaluate", *ran], ["label", *ran], ["data", "check", *ran]),
        *(["table"], ["ls"], ["status"], ["show", key], ["why", key], ["logs", key], ["gc"], ["report"], ["plot"]),
        *(["diff", "latest", "latest"], ["reproduce", "gpt2_replication", "--plan", "--scale", "demo"]),
    ]
    forms = (["--outputs", "other folder"], ["--outputs=other folder"], ['outputs="other folder"'])
    for command in commands:
        code = None if command[0] == "data" else 0  # the tiny data have problems
        shown = [w2s_inside(*command, *form, code=code).stdout for form in forms[: 3 if command[-1] == ran[-1] else 2]]
        assert len({re.sub(r"\d+\.\d s", "", text) for text in shown}) == 1, command
        if command[-1] != ran[-1]:
            w2s_inside(*command, "outputs=other folder")
    assert not (tmp_path / "outputs").exists()
    w2s_inside("rm", "--outputs", "other folder", key)


def test_results_load_as_flat_rows_for_a_notebook(ran: list[str], tmp_path: Path) -> None:
    (run,) = (tmp_path / "outputs" / "runs").glob("*/*")
    (row,) = load(run)
    assert row["rows"] == 49
    assert (row["weak"], row["strong"]) == ("local", "local")
    assert 0 <= row["student_accuracy_low"] <= row["student_accuracy"] <= row["student_accuracy_high"] <= 1
    assert {"pgr", "pgr_low", "pgr_high", "seeds", "loss"} <= set(row)


def test_a_store_that_was_copied_elsewhere_needs_nothing_run_again(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "outputs", tmp_path / "copied", copy_function=shutil.copyfile, symlinks=True)
    before = {path: path.read_bytes() for path in (tmp_path / "copied").glob("stages/*/*/record.json")}
    assert "PGR" in w2s_inside("train", *ran, "outputs=copied").stdout
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(["hydra/launcher=basic"], id="basic"),
        pytest.param(["hydra/launcher=joblib"], id="joblib"),
        pytest.param([], id="w2s"),
    ],
)
@pytest.mark.slow
def test_every_launcher_makes_the_same_stages_and_a_failing_job_fails_the_command_and_not_the_others(
    w2s: Run, tiny: list[str], tmp_path: Path, launcher: list[str]
) -> None:
    others = [word for word in tiny if not word.startswith("strong.lr=")]
    words = ["-m", *others, "strong.lr=5e-3,1e30", "strong.precision=fp32", "launcher.jobs=2", *launcher]
    done = w2s("train", *words, code=2)
    assert "lower the learning rate" in done.stderr
    kinds = [path.parent.parent.name for path in (tmp_path / "outputs").glob("stages/*/*/record.json")]
    assert sorted(kinds) == sorted(["rows"] * 3 + ["finetune"] * 3 + ["label"] * 4 + ["evaluate"])


@pytest.mark.slow
def test_a_name_from_a_user_never_becomes_a_path(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    w2s_inside("train", *tiny, "weak.name=../../../../escaped", "data.name='a/b c'", "outputs=deep/outputs")
    named = [path for path in tmp_path.rglob("*escaped*") if path.is_dir() and not path.is_symlink()]
    assert named
    assert all(path.is_relative_to(tmp_path / "deep" / "outputs") for path in named)
    assert not list(tmp_path.parent.glob("*escaped*"))


@pytest.mark.slow
def test_a_sweep_over_pairs_ends_in_one_table_and_the_median_pgr(w2s_inside: Run, tiny: list[str]) -> None:
    others = [word for word in tiny if not word.startswith("strong.lr=")]
    words = ["-m", *others, "strong.lr=4e-3,5e-3,6e-3", "strong.name=one,two", "keep_weights=false"]
    out = w2s_inside("train", *words).stdout
    assert "median PGR on local, naive, xent" in out
    own = set(re.findall(r"^ *(0.00[456]) +(one|two) ", out, re.MULTILINE))  # a row says what its setting was run with
    assert len(own) == 6, out


def test_a_group_of_the_command_line_stands_in_the_table_by_its_fields(w2s_inside: Run, ran: list[str]) -> None:
    w2s_inside("train", *ran, "data.limits={weak_train: 40, strong_train: 40}")
    out = w2s_inside("table", "methods", COLUMNS="200").stdout
    assert "data.limits." in out
    assert "{" not in out
    assert "None" not in out


def test_plot_says_that_the_run_has_failed_stages(w2s_inside: Run, ran: list[str]) -> None:
    assert "unfinished" not in w2s_inside("plot").stdout
    others = [word for word in ran if not word.startswith("strong.lr=")]
    w2s_inside("train", *others, "strong.lr=1e30", "strong.precision=fp32", code=2)
    said = w2s_inside("plot").stdout
    found = re.search(r"unfinished: student, ceiling failed; w2s (status \S+) says why", said)
    assert found, said
    assert "failed" in w2s_inside(*found[1].split()).stdout


def test_doctor_tells_of_a_folder_in_which_no_file_can_be_made(
    w2s_inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(doctor, "fault_of", full)
    assert "cannot be written: No space left on device" in w2s_inside("doctor", code=2).stdout
