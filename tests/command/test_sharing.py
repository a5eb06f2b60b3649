"""A store is shared: push, pull and import move finished stages, and a run takes from `remotes` what it needs and no more."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command.test_wrong_commands import assert_refused
from tests.small_stores import add_stage, chain, content, hide

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def theirs(finished: Path, tmp_path: Path) -> str:
    """The path of a colleague's outputs folder with a finished tiny run."""
    shutil.copytree(finished, tmp_path / "theirs", symlinks=True)
    return str(tmp_path / "theirs")


def weights(outputs: Path) -> set[str]:
    """The stages with weights, by the names of their folders without the keys."""
    return {path.parents[2].name[:-13] for path in outputs.glob("stages/*/*/result/model/*.safetensors")}


def started(outputs: Path) -> set[str]:
    """The kinds of the stages that a worker ran here: it writes a log."""
    return {path.parents[1].name for path in outputs.glob("stages/*/*/log.txt")}


def table_of(printed: str) -> str:
    """The results' table at the end of a run, with its cautions."""
    return printed[printed.index("local → local") : printed.index("time per stage")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["path", "s3", "gs"])
def test_a_pushed_run_is_pulled_and_its_command_finds_everything(
    kind: str, w2s_inside: Run, ran: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "shared") if kind == "path" else f"{request.getfixturevalue(kind)}/team/outputs"
    table = w2s_inside("train", *ran).stdout
    before = content(tmp_path / "outputs")
    pushed = w2s_inside("push", url).stdout
    size = re.search(r"pushed 11 stages \(([\d.]+) kB, [\d.]+ [kM]B/s\)", pushed)
    sent = sum(len(file) for path, file in before.items() if not path.endswith("manifest.json"))
    assert size is not None
    assert abs(float(size[1]) * 1000 - sent) < 51
    assert f"to {url}; 0 already there" in pushed
    assert "pushed 0 stages (0 B) " in w2s_inside("push", url, "latest").stdout
    os.rename(tmp_path / "outputs", tmp_path / "mine")
    assert "pulled 11 stages" in w2s_inside("pull", url).stdout
    assert content(tmp_path / "outputs") == before
    assert table_of(w2s_inside("train", *ran).stdout) == table_of(table)
    assert not started(tmp_path / "outputs")
    assert "11 finished stages verified" in w2s_inside("doctor", "--verify").stdout


def test_a_stage_brings_its_inputs_unless_only_it_is_wanted(w2s_inside: Run, tmp_path: Path) -> None:
    keys = chain(tmp_path / "mine")
    said = w2s_inside("pull", "mine", keys["labels"][:6]).stdout
    assert "pulled 3 stages" in said
    assert keys["other"] not in said
    assert "pulled 1 stage " in w2s_inside("pull", "mine", keys["other"], "--only", "outputs=other").stdout
    assert "pushed 1 stage " in w2s_inside("push", "pushed", "--only", keys["labels"], "outputs=mine").stdout
    assert "pushed 4 stages" in w2s_inside("push", "all", "--all", "outputs=mine").stdout
    assert len(list((tmp_path / "all").glob("stages/*/*/record.json"))) == 4
    light = w2s_inside("pull", "mine", "--no-weights", "outputs=light").stdout
    assert "without its weights" in light
    assert not list((tmp_path / "light").rglob("*.safetensors"))
    assert "weights added" in w2s_inside("pull", "mine", "outputs=light").stdout


@pytest.mark.parametrize("part", ["mine", "mine/stages", "mine/stages/finetune", "stage", "file"])
def test_any_part_of_another_outputs_folder_is_imported(w2s_inside: Run, tmp_path: Path, part: str) -> None:
    keys = chain(tmp_path / "mine")
    (stage,) = (tmp_path / "mine").glob("stages/finetune/student-*")
    (tmp_path / "mine" / "runs").mkdir()
    shutil.copytree(stage, tmp_path / stage.name)
    folder = {"stage": stage.name, "file": f"file://{tmp_path}/mine"}.get(part, part)
    expected = {"mine": 4, "mine/stages": 4, "file": 4}.get(part, 1)
    assert f"imported {expected} stage" in w2s_inside("import", folder).stdout
    assert (tmp_path / "outputs/stages/finetune" / stage.name / "record.json").exists()
    assert stage.name.endswith(keys["model"])
    copied = tmp_path / "outputs/stages/finetune" / stage.name / "result/model/model.safetensors"
    assert copied.stat().st_nlink == 1  # a copy, no link: a change in one store is none in the other


def test_conflicts_and_damage_are_told_and_the_others_are_copied(w2s_inside: Run, tmp_path: Path) -> None:
    chain(tmp_path / "mine")
    conflict = add_stage(tmp_path / "outputs", "rows", "train", {"rows.parquet": b"x" * 100})
    (label,) = (tmp_path / "mine").glob("stages/label/*/result/labels.parquet")
    label.write_bytes(b"broken")
    done = w2s_inside("pull", "mine", code=2)
    assert "pulled 2 stages" in done.stdout
    assert "1 conflict" in done.stdout
    assert "1 damaged" in done.stdout
    assert "the same key has another result" in done.stdout
    assert "labels.parquet has 6 bytes instead of 50" in done.stdout
    assert "Traceback" not in done.stderr
    (mine,) = (tmp_path / "outputs").glob(f"stages/rows/*{conflict}/result/rows.parquet")
    assert mine.read_bytes() == b"x" * 100


def test_the_reason_of_several_conflicts_is_told_once(w2s_inside: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        add_stage(tmp_path / "outputs", "rows", name, {"rows.parquet": b"x" * 100})
        add_stage(tmp_path / "mine", "rows", name, {"rows.parquet": b"y" * 100})
    told = w2s_inside("pull", "mine", code=2).stdout
    assert told.count(" conflict\n") + told.count(" conflict ") >= 2
    assert told.count("another result") == 1


def test_a_push_without_names_says_which_run_it_copies(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    (run,) = (tmp_path / "outputs").glob("runs/*/*")
    assert w2s_inside("push", "there").stdout.startswith(f"the latest run: outputs/runs/{run.parent.name}/{run.name}\n")


def test_what_cannot_be_copied_is_said_before_anything_is(
    w2s_inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "gcsfs")
    keys = chain(tmp_path / "outputs")
    (tmp_path / "empty").mkdir()
    for words, said in {
        ("push",): ["URL"],
        ("push", "outputs"): ["is the outputs folder itself"],
        ("push", "other"): ["there is no run yet"],
        ("push", "other", "zzz"): ['no stage has a key or a folder that begins with "zzz"'],
        ("push", "other", "--all", keys["rows"]): ["--all means every finished stage"],
        ("push", "s3://me:secret@bucket/x", "--all"): ["must not hold a password", "AWS_ACCESS_KEY_ID"],
        ("push", "gs://bucket/x", "--all"): ["gcsfs, which is not installed", "pip install"],
        ("pull", "nowhere"): ["nowhere cannot be used: there is no such folder"],
        ("pull", "empty"): ["has no finished stage"],
        ("pull", "http://127.0.0.1:9/x"): ["http://127.0.0.1:9/x cannot be used: ClientConnectorError"],
        ("import", "empty"): ["has no finished stage"],
        ("import", "outputs/stages/rows"): ["is the outputs folder itself"],
        ("pull", "outputs"): ["is the outputs folder itself"],
        ("plan", "remotes=[outputs]"): ["is the outputs folder itself"],
        ("plan", "remotes=['s3://me:secret@bucket/x']"): ["must not hold a password"],
        ("plan", "remotes=x"): ["remotes=x: must be a list"],
    }.items():
        done = w2s_inside(*words, code=2)
        assert_refused(done, *said)
        assert "secret" not in done.stderr
    assert_refused(
        w2s_inside("pull", "outputs", "zzz", "outputs=b", code=2), 'no finished stage whose key begins with "zzz"'
    )
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "b").exists()


def test_a_run_takes_records_and_figures_from_a_remote_and_trains_nothing(
    w2s_inside: Run, tiny: list[str], finished: Path, theirs: str, tmp_path: Path
) -> None:
    plan = w2s_inside("plan", *tiny, f"remotes=[{theirs}]").stdout
    assert "11 stages, 0 to run, 11 cached, 11 of them in another store" in plan
    assert theirs in plan
    assert not (tmp_path / "outputs").exists()
    first = w2s_inside("train", *tiny, f"remotes=[{theirs}]").stdout
    assert "pulled 11 stages" in first
    assert "3 of them without weights" in first
    assert not started(tmp_path / "outputs")
    assert weights(tmp_path / "outputs") == set()
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    own = w2s_inside("train", *tiny, "outputs=copy").stdout
    assert table_of(first) == table_of(own)


@pytest.mark.slow
def test_a_run_copies_the_inputs_of_what_it_trains_and_no_other_weights(
    w2s_inside: Run, tiny: list[str], theirs: str, tmp_path: Path
) -> None:
    """Another loss: the student is trained on labels from the remote; neither weak supervisor nor ceiling is needed for it."""
    done = w2s_inside("train", *tiny, "loss=logconf", f"remotes=[{theirs}]")
    assert "PGR" in done.stdout
    assert started(tmp_path / "outputs") == {"finetune", "label", "evaluate"}
    assert {name.partition("-")[0] for name in weights(tmp_path / "outputs")} == {"student"}
    assert "pulled" not in w2s_inside("train", *tiny, "loss=logconf", f"remotes=[{theirs}]").stdout
    forced = w2s_inside("train", *tiny, "loss=logconf", f"remotes=[{theirs}]", "--force", "weak_test").stdout
    assert "pulled 1 stage" in forced  # the weak supervisor's weights, which its predictions need
    assert {name.partition("-")[0] for name in weights(tmp_path / "outputs")} == {"student", "weak"}


def test_a_remote_that_is_down_is_planned_as_empty_and_stops_a_run(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    done = w2s_inside("plan", *tiny, "remotes=[/nowhere/outputs]")
    assert "11 to run" in done.stdout
    assert "/nowhere/outputs cannot be used" in done.stderr
    refused = w2s_inside("train", *tiny, "remotes=[/nowhere/outputs]", code=2)
    assert_refused(refused, "/nowhere/outputs cannot be used", "leave it out of remotes=")
    assert not list((tmp_path / "outputs").glob("stages/*/*"))


def test_a_plan_lists_a_remote_once_and_reads_no_stage_of_it(
    w2s_inside: Run, tiny: list[str], theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    asked = []

    def spied(name: str) -> Callable[..., object]:
        of_class = getattr(LocalFileSystem, name)

        def call(self: LocalFileSystem, path: str, *words: object, **options: object) -> object:
            asked.append((name, path))
            return of_class(self, path, *words, **options)

        return call

    for name in ("find", "cat_file", "open", "get_file"):
        monkeypatch.setattr(LocalFileSystem, name, spied(name))
    assert "11 of them in another store" in w2s_inside("plan", *tiny, f"remotes=[{theirs}]").stdout
    assert asked == [("find", f"{theirs}/stages")]


def test_a_finished_run_asks_no_remote(w2s_inside: Run, ran: list[str]) -> None:
    assert "PGR" in w2s_inside("train", *ran, "remotes=[/nowhere/outputs]").stdout


def test_a_damaged_remote_stage_stops_a_run_with_what_to_do(w2s_inside: Run, tiny: list[str], theirs: str) -> None:
    (labels,) = Path(theirs).glob("stages/evaluate/*/result/predictions.parquet")
    labels.write_bytes(b"broken")
    refused = w2s_inside("train", *tiny, f"remotes=[{theirs}]", code=2)
    assert_refused(refused, "cannot be copied (damaged", "run without this remote")


@pytest.mark.slow
def test_a_worker_makes_a_stage_whose_pull_was_killed(
    w2s: Run, w2s_inside: Run, tiny: list[str], theirs: str, tmp_path: Path
) -> None:
    model, *_ = sorted(path.parents[1] for path in Path(theirs).glob("stages/*/*/result/model"))
    w2s("pull", theirs, model.name[-12:], "--only", code=-9, W2S_FAULT="fetch.file:2")
    w2s_inside("train", *tiny)
    assert model.parent.name in started(tmp_path / "outputs")
    assert "11 done" in w2s_inside("status").stdout
    assert "11 finished stages verified" in w2s_inside("doctor", "--verify").stdout


@pytest.mark.slow
@pytest.mark.parametrize(("way", "kind"), [("push", "s3"), ("pull", "s3"), ("push", "gs")])
def test_a_killed_copy_of_a_run_goes_on_with_what_is_missing(
    way: str, kind: str, w2s: Run, ran: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"{request.getfixturevalue(kind)}/outputs"
    if way == "pull":
        w2s("push", url)
        os.rename(tmp_path / "outputs", tmp_path / "mine")
    w2s(way, url, code=-9, W2S_FAULT="send.recorded:3" if way == "push" else "publish.recorded:3")
    done = w2s(way, url).stdout
    copied = re.search(r"(?:pushed|pulled) (\d+) stages? .*; (\d+) already there$", done, re.MULTILINE)
    assert copied is not None
    assert sum(map(int, copied.groups())) == 11
    assert int(copied[2]) >= 3  # what was finished before the kill
    if way == "push":
        w2s("pull", url, "outputs=other")
        assert content(tmp_path / "other") == content(tmp_path / "outputs")
    else:
        assert content(tmp_path / "mine") == content(tmp_path / "outputs")


def test_a_bucket_of_gs_that_does_not_exist_is_one_message(w2s: Run, gs: str, tmp_path: Path) -> None:
    chain(tmp_path / "outputs")
    done = w2s("push", f"{gs}/outputs", "--all")
    assert "pushed 4 stages" in done.stdout
    assert done.stderr == ""  # its client warns at every request
    for words in (("push", "gs://nothing/x", "--all"), ("pull", "gs://nothing/x", "outputs=b")):
        assert_refused(w2s(*words, code=2), "gs://nothing/x cannot be used: FileNotFoundError")
    assert not (tmp_path / "b").exists()


def test_remotes_change_no_key_and_are_recorded_without_secrets(
    w2s_inside: Run, tiny: list[str], theirs: str, tmp_path: Path
) -> None:
    keys = re.compile(r"\b[0-9a-f]{12}\b")
    assert set(keys.findall(w2s_inside("plan", *tiny).stdout)) == set(
        keys.findall(w2s_inside("plan", *tiny, f"remotes=[{theirs}]").stdout)
    )
    w2s_inside("train", *tiny, f"remotes=[{theirs}]")
    (config,) = (tmp_path / "outputs").glob("runs/*/*/config.yaml")
    assert theirs in config.read_text()
    record = next((tmp_path / "outputs").glob("stages/label/*/record.json"))
    assert json.loads(record.read_text())["pulled"] == theirs
