"""Forty wrong commands and inputs: each has one message that says what is wrong and what to do, exit code 2, and no traceback."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, sentences, without_weak, write_jsonl

Run = Callable[..., subprocess.CompletedProcess[str]]


def assert_refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit code 2, every phrase is in the message, no traceback."""
    assert done.returncode == 2, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    for phrase in said:
        assert phrase in done.stderr, f"{phrase!r} is not in:\n{done.stderr}"
    assert "Traceback" not in done.stderr + done.stdout


WORDS: dict[str, tuple[list[str], list[str]]] = {
    "unknown command": (["trian"], ['unknown command "trian"', 'Did you mean "train"']),
    "unknown option": (["train", "--focre", "student"], ['unknown option "--focre"', 'Did you mean "--force"']),
    "unknown option of a record command": (["ls", "--colour"], ["w2s ls", "--colour", "--help"]),
    "bare word": (["train", "gpt2"], ['"gpt2" is not an override', "weak=gpt2"]),
    "misspelt group": (["plan", "wek=gpt2"], ['unknown field "wek"', 'Did you mean "weak"']),
    "misspelt key": (["plan", "strong.lrr=1"], ['unknown field "strong.lrr"', 'Did you mean "strong.lr"']),
    "misspelt top-level field": (["plan", "sede=1"], ['unknown field "sede"', 'Did you mean "seed"']),
    "added key": (["plan", "+strong.foo=1"], ["strong.foo", "unknown field"]),
    "unknown model": (["plan", "weak=gpt3"], ['unknown model "gpt3"', 'Did you mean "gpt2"', "pythia-70m"]),
    "unknown strong model in a sweep": (
        ["plan", "-m", "strong=qwen,qwne"],
        ['unknown model "qwne"', 'Did you mean "qwen"'],
    ),
    "unknown data set": (["plan", "data=sciqq"], ['unknown data "sciqq"', 'Did you mean "sciq"']),
    "unknown loss": (["plan", "loss=xnet"], ['unknown loss "xnet"', 'Did you mean "xent"']),
    "unknown method": (["plan", "method=nave"], ['unknown method "nave"', 'Did you mean "naive"']),
    "wrong type": (["plan", "strong.lr=fast"], ["strong.lr=fast: must be a number greater than 0"]),
    "negative learning rate": (["plan", "strong.lr=-1"], ["strong.lr=-1:", "greater than 0"]),
    "zero seeds": (["plan", "seeds=0"], ["seeds=0", "between 1 and 1000"]),
    "unknown precision": (["plan", "weak.precision=fp8"], ["weak.precision=fp8", "fp32, tf32, bf16"]),
    "unknown schedule": (["plan", "train.schedule=cos"], ["train.schedule=cos", "cosine"]),
    "unknown loss argument": (
        ["plan", "loss=logconf", "+loss.args.alhpa=1"],
        ['no argument "alhpa"', 'Did you mean "alpha'],
    ),
    "rule without its method": (["plan", "select=topofilter"], ["no effect with method=naive", "method=selection"]),
    "members without an ensemble": (["plan", "ensemble=4"], ["ensemble=4 has no effect", "method=ensemble"]),
    "one split for training and test": (
        ["plan", "data=sciq", "data.splits.test=train"],
        ["the same split", "data.splits.test=null"],
    ),
    "no members": (["plan", "method=ensemble", "ensemble=0"], ["ensemble=0", "number of weak supervisors"]),
    "unknown member": (["plan", "method=ensemble", "ensemble=[gpt2,gtp2]"], ['unknown model "gtp2"', '"gpt2"']),
    "no ladder": (["plan", "method=bootstrapping"], ["needs ladder=["]),
    "unknown rung": (["plan", "method=bootstrapping", "ladder=[gpt9]"], ['ladder: unknown model "gpt9"']),
    "too few for triplets": (
        ["plan", "method=ensemble", "ensemble=2", "combine=flyingsquid"],
        ["needs at least 3 supervisors", "ensemble=3"],
    ),
    "weights that nobody measures": (["plan", "method=ensemble", "combine=weighted"], ["method=weighted_ensemble"]),
    "a student that is not there": (["plan", "method=ensemble", "combine=co_supervised"], ["method=co_supervised"]),
    "features that a method has not": (["plan", "method=abstention", "select=knn_filter"], ["method=selection"]),
    "never abstaining enough": (["plan", "method=ensemble", "combine.abstain_below=1.5"], ["at least 0 and below 1"]),
    "unknown argument of a rule": (
        ["plan", "method=selection", "select.args.budgt=1"],
        ['confidence has no argument "budgt"', "Known: share, threshold"],
    ),
    "label tokens on pairs": (
        ["plan", "train=token_head", "data=hh_harmless_small"],
        ["single texts", "train=finetune"],
    ),
    "a prompt with pairs": (["plan", "method=few_shot", "data=hh_harmless_small"], ["single texts", "has pairs"]),
    "too many label tokens": (
        ["plan", "method=few_shot", "few_shot.tokens=[a,b,c]"],
        ["3 label tokens", "2 classes", "few_shot.tokens"],
    ),
    "a probe with label tokens": (
        ["plan", "train=probe", "train.head.tokens=[' a',' b']"],
        ["probe has a linear head", "train.mode=full"],
    ),
    "unknown control": (["plan", "control=randm_labels"], ['unknown control "randm_labels"', "random_labels"]),
    "stopping never": (["plan", "stopping=weak_labels", "stopping.every=0"], ["stopping.every=0", "greater than 0"]),
    "unknown role to stop": (
        ["plan", "stopping=weak_labels", "stopping.roles=[teacher]"],
        ["stopping.roles[0]=teacher", "weak, student, ceiling"],
    ),
    "sharpened by nothing": (["plan", "train.labels=sharpened", "train.sharpening=0"], ["train.sharpening=0"]),
    "an interval without a search": (
        ["train", "-m", "strong.lr=interval(1e-6,1e-4)"],
        ["strong.lr=interval(1e-6,1e-4)", "search.trials=20", "range(START,STOP,STEP)"],
    ),
    "a search without an interval": (
        ["train", "search.trials=3"],
        ["no effect without a search", "strong.lr='tag(log,"],
    ),
    "a search that leaves the student": (
        ["train", "-m", "ceiling.lr=interval(1e-6,1e-4)", "search.trials=3"],
        ["ceiling.lr has no effect on the student"],
    ),
    "a search over the supervisor": (
        ["plan", "-m", "weak.lr=interval(1e-6,1e-4)", "search.trials=3"],
        ["weak.lr changes the weak labels of the validation rows", "cannot be compared"],
    ),
    "a search over epochs of all roles": (
        ["plan", "-m", "train.epochs=interval(1,3)", "search.trials=3"],
        ["train.epochs changes the weak labels", "student.*"],
    ),
    "a search over a seed": (
        ["plan", "-m", "seed=interval(0,9)", "search.trials=3"],
        ["does not choose a seed", "seeds=3"],
    ),
    "a search without weak labels": (
        ["plan", "-m", "method=baselines", "strong.lr=interval(1e-6,1e-4)", "search.trials=3"],
        ["method=baselines has no student that learns labels", "method=naive"],
    ),
    "a search without validation rows": (
        ["plan", "-m", "data=boolq", "strong.lr=interval(1e-6,1e-4)", "search.trials=3"],
        ["the pool strong_val gets no rows", "data.pools.strong_val=0.1"],
    ),
    "a forced stage of a search": (
        ["train", "-m", "strong.lr=interval(1e-6,1e-4)", "search.trials=3", "--force", "student"],
        ["--force student has no use in a search"],
    ),
    "too many trials": (
        ["plan", "-m", "strong.lr=interval(1e-6,1e-4)", "search.trials=600", "seed=0,1"],
        ["1,200 jobs", "search.trials=600", "most_jobs=1200"],
    ),
    "a search for labels": (
        ["label", "-m", "strong.lr=interval(1e-6,1e-4)", "search.trials=3"],
        ["only w2s train searches"],
    ),
    "unknown rule for pairs": (["plan", "pairs=bigger"], ["pairs=bigger", "all, upper, strict"]),
    "file for several supervisors": (
        ["plan", "method=ensemble", "labels=file", "labels.path=x.jsonl"],
        ["one weak supervisor", "3"],
    ),
    "null for a group": (["plan", "weak=null"], ["must have one of its names"]),
    "labels from no file": (["plan", "labels=file"], ["labels.path=FILE"]),
    "labels from null": (["plan", "labels=file", "labels.path=null"], ["labels.path=FILE"]),
    "a million seeds": (["plan", "seeds=1000000"], ["seeds=1000000", "between 1 and 1000"]),
    "infinite learning rate": (["plan", "strong.lr=1e9999"], ["strong.lr=inf", "finite"]),
    "seed that does not fit": (["plan", "seed=99999999999999999999"], ["seed=99999999999999999999", "2^32"]),
    "negative seed": (["plan", "seed=-1"], ["seed=-1", "between 0"]),
    "hub id in place of a name": (["plan", "weak=meta-llama/Llama-3"], ["weak=local weak.id=meta-llama/Llama-3"]),
    "several values without -m": (["plan", "seed=0,1"], ["are a sweep", "w2s train -m"]),
    "several values of a field": (["plan", "strong.lr=1e-5,1e-4"], ["are a sweep", "w2s train -m strong.lr=1e-5,1e-4"]),
    "several choices without -m": (["plan", "loss=xent,logconf"], ["are a sweep", "w2s train -m loss=xent,logconf"]),
    "a name in place of a choice": (["plan", "weak.name=gpt2"], ["only renames", "weak=gpt2 chooses"]),
    "a name of a data set": (["plan", "data.name=sciq"], ["only renames", "data=sciq chooses"]),
    "a name of a method": (["plan", "method.name=mine"], ["only renames", "method=mine chooses"]),
    "names in a sweep": (["plan", "-m", "strong.name=gpt2,wordnet-l"], ["only renames"]),
    "a text in place of a list": (["plan", "data.group=word"], ["must be a list, for example data.group=[word]"]),
    "a revision of a folder": (["plan", "weak.revision=abc"], ["weak.revision has no effect", "model of the hub"]),
    "two kinds of figures": (["plot", "curves", "calibration"], ["one kind of figure", "curves or calibration"]),
    "outputs of an empty variable": (["plan", "outputs="], ["outputs=", "must be a folder"]),
    "a quote in a value": (["plan", 'loss=it"s'], ["cannot read loss=it", "needs quotes"]),
    "a field in capitals": (["plan", "SEED=3"], ["before them: seed, weak.seed"]),
    "a path in place of a data set": (
        ["plan", "data=/usr/bin/env"],
        ["is a path, and not the name of a data set", "data=local data.path=/usr/bin/env"],
    ),
    "a data set of nobody's folder": (["plan", 'data="~nobody_of_this_name/x"'], ["unknown"]),
    "a path in place of a model": (["plan", "weak=/usr/bin"], ["is a path", "weak=local weak.path=/usr/bin"]),
    "own file in place of the bundled one": (
        ["plan", "data.path=/usr/bin/env"],
        ["data=local data.path=", "data.text=COLUMN"],
    ),
    "outputs without a folder": (["plan", "--outputs"], ["--outputs needs a folder", "outputs=DIR"]),
    "two folders of outputs": (["plan", "--outputs", "x", "outputs=y"], ["outputs has two values"]),
    "a field without its group": (["plan", "device=cpu"], ["launcher.device"]),
    "a field of several groups": (["plan", "lr=1e-5"], ["weak.lr, strong.lr, student.lr"]),
    "a spelt-out field without its group": (["plan", "learning_rate=1e-5"], ["weak.lr, strong.lr"]),
    "a field without its underscore": (["plan", "batchsize=8"], ["strong.batch_size"]),
    "a field as an option": (["plan", "--seed", "3"], ["without dashes: seed=…"]),
    "a group as an option": (["plan", "--data=sciq"], ["without dashes: data=…"]),
    "a field and its value as two words": (["plan", "seed", "3"], ['"seed" is not an override', "seed=…"]),
    "a line without a command": (["loss=kl"], ["is no command", "w2s train loss=kl"]),
    "an option of another command": (["data", "check", "data=sciq", "--force", "x"], ["--force has no use"]),
    "a choice without its group": (["data", "check", "sciq"], ['"sciq" is not an override', "data=sciq"]),
    "a spelt-out field": (["train", "strong.learning_rate=1e-5"], ['Did you mean "strong.lr"']),
    "no such argument of a loss": (["plan", "loss=logconf", "loss.args.nosuch=3"], ['no argument "nosuch"']),
    "learning rate that another one hides": (
        ["plan", "train=probe", "weak.lr=1e-3", "strong.lr=1e-3", "train.lr=1e-2"],
        ["train.lr=1e-2 has no effect"],
    ),
    "no path for local data": (["plan", "data=local"], ["data.path=FILE"]),
    "no path for a local model": (["plan", "weak=local"], ["weak.path=DIR"]),
    "string for a role": (["plan", "student=gpt2"], ["student"]),
    "unbalanced override": (["plan", "data.options={a: 1"], ["cannot read data.options={a: 1", 'a "{" has no "}"']),
    "unknown stage to force": (["plan", "--force", "studnet"], ['no stage "studnet"', 'Did you mean "student"']),
    "force without a stage": (["train", "--force"], ["--force needs the name of a stage"]),
    "pretrain without a recipe": (["pretrain"], ["needs a recipe", "pretrain=NAME"]),
    "labels file that is not there": (["plan", "labels=file", "labels.path=no.jsonl"], ["labels", "no.jsonl"]),
    "no outputs yet": (["ls"], ["holds no stages", "w2s train"]),
    "evaluate before train": (["evaluate"], ["never trains", "Run: w2s train"]),
    "model not cached, offline": (["train", "weak=gpt2"], ["model gpt2", "HF_HUB_OFFLINE", "weak.path="]),
    "data not cached, offline": (["train", "data=sciq"], ["dataset allenai/sciq", "HF_HUB_OFFLINE", "data.path="]),
    "bundled path that tries to leave": (
        ["plan", "weak=local", "weak.path=bundled:../../x"],
        ["does not ship with w2s"],
    ),
    "unknown shell": (["completion", "tcsh"], ["bash, zsh or fish"]),
}


@pytest.mark.parametrize("case", WORDS, ids=lambda name: name.replace(" ", "-"))
def test_wrong_words(w2s_inside: Run, case: str) -> None:
    words, said = WORDS[case]
    assert_refused(w2s_inside(*words, code=None), *said)


def test_a_wrong_command_ends_its_process_with_code_2_and_a_message(w2s: Run) -> None:
    words, said = WORDS["misspelt key"]
    assert_refused(w2s(*words, code=None), *said)


def without(tiny: list[str], *names: str) -> list[str]:
    """The overrides less those of `names`."""
    return [word for word in tiny if word.partition("=")[0] not in names]


def with_rows(tiny: list[str], folder: Path, rows: list[dict[str, Any]]) -> list[str]:
    """The tiny run on other rows."""
    return [*without(tiny, "data.path"), f"data.path={write_jsonl(folder / 'rows.jsonl', rows)}"]


DATA: dict[str, tuple[Callable[[list[dict[str, Any]]], list[dict[str, Any]]], list[str]]] = {
    "one class only": (lambda rows: [{**row, "label": 1} for row in rows], ["class"]),
    "NaN labels": (lambda rows: [*rows[:50], {**rows[50], "label": float("nan")}, *rows[51:]], ["label", "NaN"]),
    "empty data": (lambda rows: [], ["rows.jsonl"]),
    "duplicate ids": (lambda rows: [{**row, "id": "same"} for row in rows], ["id", "same"]),
    "too few rows for a pool": (lambda rows: rows[:2], ["rows"]),
}


@pytest.mark.parametrize("case", DATA, ids=lambda name: name.replace(" ", "-"))
def test_wrong_data(w2s_inside: Run, tiny: list[str], tmp_path: Path, case: str) -> None:
    change, said = DATA[case]
    assert_refused(w2s_inside("train", *with_rows(tiny, tmp_path, change(list(sentences(240)))), code=None), *said)


@pytest.mark.parametrize("field", ["data.text", "data.label", "data.id"])
def test_a_missing_column_is_refused_by_the_plan(w2s_inside: Run, tiny: list[str], field: str) -> None:
    done = w2s_inside("plan", *without(tiny, field), f"{field}=txet", code=None)
    assert_refused(done, 'no column "txet"', f"({field})", "Known: id, label, text")


def test_missing_file(w2s_inside: Run, tiny: list[str]) -> None:
    assert_refused(
        w2s_inside("plan", *without(tiny, "data.path"), "data.path=nowhere.jsonl", code=None), "nowhere.jsonl"
    )


def test_truncated_gzip(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in sentences(240)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    assert_refused(w2s_inside("train", *without(tiny, "data.path"), f"data.path={path}", code=None), "cut.jsonl.gz")


def test_foreign_file(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    path = tmp_path / "picture.parquet"
    path.write_bytes(os.urandom(2000))
    assert_refused(w2s_inside("train", *without(tiny, "data.path"), f"data.path={path}", code=None), "picture.parquet")


@pytest.mark.slow
def test_text_longer_than_the_context_is_cut_counted_and_reported_not_refused(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    def text(number: int, row: dict[str, object]) -> str:
        """Of four texts, two are too long, and one has no token but a special one."""
        return "<|endoftext|>" if number % 4 == 0 else "the big old " * (100 * (number % 2)) + str(row["text"])

    rows = [{**row, "text": text(number, row)} for number, row in enumerate(sentences(240))]
    prompted = ["method=few_shot", "few_shot.tokens=[a,b]", "few_shot.shots=1"]
    said = w2s_inside(
        "train", *with_rows(tiny, tmp_path, rows), *prompted, "weak.max_length=1024", "strong.max_length=48"
    ).stdout
    for role, limit in (("weak", 64), ("ceiling", 48), ("student", 48)):  # the weak model has 64 positions
        assert re.search(rf"Caution: \d\d% of the texts were cut to {limit} tokens, .* \({role}\)", said)
        assert re.search(rf"Caution: \d+ of \d+ texts \(\w+\) have no token that local knows \({role}\)", said)


def labels_file(tmp_path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> list[str]:
    """Labels for every row, less or more what `change` does."""
    rows = [{"id": row["id"], "label": row["label"]} for row in sentences(240)]
    return ["labels=file", f"labels.path={write_jsonl(tmp_path / 'labels.jsonl', change(rows))}"]


def test_labels_for_unknown_rows(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    words = labels_file(tmp_path, lambda rows: [{**row, "id": f"x{row['id']}"} for row in rows])
    assert_refused(w2s_inside("train", *without_weak(tiny), *words, code=None), "labels.jsonl", "id")


def test_labels_that_leave_rows_out(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    words = [*without_weak(tiny), *labels_file(tmp_path, lambda rows: rows[:10])]
    assert_refused(w2s_inside("train", *words, code=None), "labels.jsonl")


def damaged_model(tiny_models: dict[str, Path], folder: Path, change: Callable[[Path], None]) -> list[str]:
    """A copy of the strong model with something wrong in it."""
    shutil.copytree(tiny_models["strong"], folder / "broken")
    change(folder / "broken")
    return ["strong=local", f"strong.path={folder / 'broken'}"]


def test_model_folder_without_config(
    w2s_inside: Run, tiny: list[str], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    words = damaged_model(tiny_models, tmp_path, lambda path: (path / "config.json").unlink())
    assert_refused(
        w2s_inside("plan", *without(tiny, "strong", "strong.path"), *words, code=None), "config.json", "save_pretrained"
    )


def test_truncated_weights(w2s_inside: Run, tiny: list[str], tiny_models: dict[str, Path], tmp_path: Path) -> None:
    def cut(path: Path) -> None:
        weights = path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])

    words = damaged_model(tiny_models, tmp_path, cut)
    assert_refused(w2s_inside("train", *without(tiny, "strong", "strong.path"), *words, code=None), "broken")


def test_checkpoint_of_another_architecture(
    w2s_inside: Run, tiny: list[str], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    words = damaged_model(
        tiny_models,
        tmp_path,
        lambda path: shutil.copy(tiny_models["weak"] / "model.safetensors", path / "model.safetensors"),
    )
    assert_refused(w2s_inside("train", *without(tiny, "strong", "strong.path"), *words, code=None), "broken")


@pytest.mark.slow
def test_full_disk_loses_nothing(w2s_inside: Run, tiny: list[str]) -> None:
    done = w2s_inside("train", *tiny, "outputs=out", code=None, W2S_FAULT="publish.synced:5=enospc")
    assert_refused(done, "no space left on device", "it continues")
    assert "PGR" in w2s_inside("train", *tiny, "outputs=out").stdout


def test_outputs_folder_that_cannot_be_written(w2s_inside: Run, tiny: list[str]) -> None:
    """Nobody, root included, may make a folder in /proc."""
    assert_refused(
        w2s_inside("train", *tiny, "outputs=/proc/w2s-outputs", code=None),
        "cannot write to /proc/w2s-outputs",
        "outputs=DIR",
    )


METHODS = {
    "unknown kind": ("{kind: finteune, role: weak, model: '${weak}', rows: test}", 'unknown kind "finteune"'),
    "unknown field": ("{kind: label, model: weak, row: test}", 'unknown field "row"'),
    "missing field": ("{kind: label, model: weak}", 'the field "rows" is missing'),
    "unknown stage": ("{kind: label, model: waek, rows: test}", 'no stage "waek" in this method. Did you mean "weak"'),
    "unknown pool": ("{kind: label, model: weak, rows: tset}", 'unknown pool "tset". Did you mean "test"'),
    "edge that is no name": (
        "{kind: label, model: '${weak}', rows: test}",
        '"model" must be the name of another stage',
    ),
    "circle": (
        "{kind: finetune, role: weak, model: '${weak}', rows: test, labels: extra}",
        "in a circle: extra → extra",
    ),
    "labels by what cannot label": ("{kind: label, model: labels, rows: test}", "is no finetune stage"),
}


@pytest.mark.parametrize("case", METHODS, ids=lambda name: name.replace(" ", "-"))
def test_wrong_methods(w2s_inside: Run, tiny: list[str], tmp_path: Path, case: str) -> None:
    stage, said = METHODS[case]
    (tmp_path / "mine" / "method").mkdir(parents=True)
    naive = (ROOT / "configs" / "method" / "naive.yaml").read_text()
    (tmp_path / "mine" / "method" / "wrong.yaml").write_text(f"{naive}  extra: {stage}\n")
    assert_refused(w2s_inside("plan", "--config-dir", "mine", "method=wrong", *tiny, code=None), said)


def test_outputs_that_is_a_file(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(w2s_inside("train", *tiny, "outputs=file", code=None), "is no folder", "outputs=DIR")


def test_tampered_labels_are_refused_when_their_inputs_are_gone(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    labels = next((tmp_path / "outputs").glob("stages/label/*test*/result/labels.parquet"))
    labels.write_bytes(labels.read_bytes()[:-1] + b"x")
    assert_refused(w2s_inside("evaluate", *ran, code=None), "never trains", "Run: w2s train")
    assert "damaged" in w2s_inside("plan", *ran).stdout
    assert "PGR" in w2s_inside("train", *ran).stdout


def test_the_command_of_a_message_can_be_pasted_into_a_shell(w2s_inside: Run) -> None:
    words = ["data.classes=[a tool, 'an animal, or none']", "--force", "student"]
    done = w2s_inside("evaluate", *words, code=2)
    assert shlex.split(done.stderr.rpartition("Run: ")[2]) == ["w2s", "train", *words]


def test_edited_stage_file(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    path = next((tmp_path / "outputs").glob("stages/finetune/weak-*/stage.json"))
    job = json.loads(path.read_text())
    path.write_text(json.dumps({**job, "params": {**job["params"], "lr": 1.0}}))
    assert_refused(w2s_inside("train", *ran, code=None), "was edited", "w2s rm")


@pytest.mark.parametrize("words", [["show", "zzz"], ["why", "zzz"], ["rm", "zzz"], ["logs", "zzz"]], ids=" ".join)
def test_a_key_that_does_not_exist(w2s_inside: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "outputs" / "stages").mkdir(parents=True)
    assert_refused(w2s_inside(*words, code=None), '"zzz"', "w2s ls")


def own_loss(folder: Path, code: str, yaml: str = "name: mine\n") -> list[str]:
    """The options that choose a loss of the user's own."""
    for name in ("loss", "losses"):
        (folder / "own" / name).mkdir(parents=True)
    (folder / "own" / "loss" / "mine.yaml").write_text(yaml)
    (folder / "own" / "losses" / "mine.py").write_text(code)
    return ["--config-dir", "own", "loss=mine"]


def test_own_loss_with_a_syntax_error(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    words = own_loss(tmp_path, "def mine(logits, labels, *, progress)\n")
    assert_refused(w2s_inside("plan", *tiny, *words, code=None), "own/losses/mine.py, line 1")


def test_own_yaml_that_is_broken(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    words = own_loss(tmp_path, "", yaml="name: [mine\n")
    assert_refused(w2s_inside("plan", *tiny, *words, code=None), "a YAML file cannot be read", "mine.yaml")


def test_own_loss_that_returns_no_scalar_or_takes_no_such_value(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    words = own_loss(
        tmp_path, "def mine(logits, labels, *, progress, by: float = 1.0):\n    return (logits - labels) / by\n"
    )
    assert_refused(w2s_inside("train", *ran, *words, code=None), "loss mine must return a scalar")
    assert_refused(
        w2s_inside("plan", *ran, *words, "+loss.args.by=two", code=None), "mine: args.by=two: must be a number"
    )
    path = tmp_path / "own" / "losses" / "mine.py"
    path.write_text(path.read_text().replace("by: float = 1.0", "by=1.0"))  # nothing for the plan to check
    assert_refused(w2s_inside("train", *ran, *words, "+loss.args.by=two", code=None), "loss mine failed: TypeError")


def test_own_loss_without_a_gradient_or_without_progress(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    words = own_loss(tmp_path, "def mine(logits, labels, *, progress):\n    return (logits - labels).mean().detach()\n")
    assert_refused(w2s_inside("train", *ran, *words, code=None), "loss mine has no gradient")
    path = tmp_path / "own" / "losses" / "mine.py"
    path.write_text(path.read_text().replace(", *, progress", ""))
    assert_refused(w2s_inside("plan", *ran, *words, code=None), str(path), "must take the argument progress")


def test_own_yaml_of_another_shape(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    words = own_loss(tmp_path, "", yaml="name: mine\nargs: [1]\n")
    done = w2s_inside("plan", *tiny, *words, code=None)
    assert_refused(done, "loss/mine.yaml has another shape", "w2s config loss")
    assert "DictConfig" not in done.stderr


def test_one_mistake_gives_one_message(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    rows = [{**row, "label": "odd" if number % 7 == 0 else row["label"]} for number, row in enumerate(sentences(240))]
    done = w2s_inside("train", *with_rows(tiny, tmp_path, rows), "data.classes=['0','1']", code=2)
    assert done.stderr.count("odd") == 1, done.stderr
    assert "correct the cause, then run the same command" in done.stderr


def test_unknown_option_of_a_transform_is_refused_before_anything_runs(w2s_inside: Run, tmp_path: Path) -> None:
    (tmp_path / "sciq").mkdir()
    for split in ("train", "test"):
        write_jsonl(tmp_path / "sciq" / f"{split}.jsonl", sentences(4))  # planning does not open it
    done = w2s_inside("plan", "data=sciq", "data.path=sciq", "+data.options.chocies=[a]", code=None)
    assert_refused(done, 'choice has no argument "chocies"', 'Did you mean "choices"')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "KEY", "--jsn"], 'Did you mean "--json"'),
        (["gc", "--yess"], 'Did you mean "--yes"'),
        (["ls", "--state", "nosuch"], '--state="nosuch" is unknown'),
        (["ls", "done"], "--state done"),
        (["why", "latest"], "is a run"),
        (["logs", "latest"], "w2s status latest lists the stages"),
        (["status", "KEY"], "is the key of a stage, and not a run: w2s show KEY"),
        (["report", "KEY"], "is the key of a stage"),
        (["rm", "latest"], "removed by its path or whole name only: w2s rm outputs/runs/"),
        (["plot", "latest", "curves"], "w2s plot curves latest"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_name_of_another_thing_is_told_apart(
    w2s_inside: Run, ran: list[str], tmp_path: Path, words: list[str], said: str
) -> None:
    key = next((tmp_path / "outputs" / "stages" / "evaluate").glob("*-*")).name[-12:]
    done = w2s_inside(*(word.replace("KEY", key) for word in words), code=None)
    assert_refused(done, said.replace("KEY", key))


def test_a_table_of_the_latest_run_is_asked_for_by_that_name(w2s_inside: Run, ran: list[str]) -> None:
    assert w2s_inside("table", "latest").stdout == w2s_inside("table").stdout
