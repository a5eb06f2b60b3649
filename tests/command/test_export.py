"""A trained model is exported as a folder that transformers loads without w2s, with a card that has its results; and pushed to a hub."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.command.test_hub import online
from tests.command.test_wrong_commands import assert_refused
from tests.tiny_hub import Uploads, tiny_hub
from w2s_cli.store.files import read_json

Run = Callable[..., subprocess.CompletedProcess[str]]
TOKEN = "hf_of_this_test"


def key_of(tmp_path: Path, pattern: str) -> str:
    """The key of the one stage that fits."""
    (found,) = (tmp_path / "outputs" / "stages").glob(pattern)
    return found.name[-12:]


@pytest.mark.parametrize("named", ["the model", "the comparison", "the run", "latest"])
def test_the_student_is_exported_with_its_card_and_loads_without_w2s(
    named: str, w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    (run,) = (tmp_path / "outputs").glob("runs/*/*")
    student = key_of(tmp_path, "finetune/student-*")
    name = {"the model": student[:8], "the comparison": key_of(tmp_path, "evaluate/*-s0-*"), "the run": run.name}.get(
        named, named
    )
    said = w2s_inside("export", name, "out=exported").stdout
    assert f"exported student {student} (" in said
    folder = tmp_path / "exported"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits = model(**tokenizer(["the old dog"], return_tensors="pt")).logits
    (source,) = (tmp_path / "outputs").glob("stages/finetune/student-*/result/model")
    same = AutoModelForSequenceClassification.from_pretrained(source)(
        **tokenizer(["the old dog"], return_tensors="pt")
    ).logits
    assert logits.tolist() == same.tolist()
    for path in source.iterdir():
        if path.name != "README.md":
            assert (folder / path.name).read_bytes() == path.read_bytes()


def test_the_card_says_how_the_model_was_made_and_what_it_reached(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    key = key_of(tmp_path, "finetune/student-*")
    w2s_inside("export", key, "out=deep/exported")
    text = (tmp_path / "deep/exported/README.md").read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["weak-to-strong", "w2s"],
    }
    (results,) = (tmp_path / "outputs").glob("runs/*/*/results.json")
    metrics = read_json(results)["entries"][0]["metrics"]
    for role in ("weak", "student", "ceiling"):
        low, high = metrics[role]["interval"]
        assert f"| {role} | {metrics[role]['accuracy']:.3f} | [{low:.3f}, {high:.3f}] |" in body.replace("\\", "")
    for said in (
        *(
            "| PGR |",
            "loss: xent",
            "method: naive",
            "seed: 0",
            "lr 0.005",
            f"key of the stage `{key}`",
            "made by w2s 0.1.0",
        ),
        *(
            "w2s train weak=local",
            "base model: local, a model in a folder (sha256",
            "* weak: local",
            "* ceiling: local",
        ),
        *("Intended use and licence", "AutoModelForSequenceClassification.from_pretrained", "One seed, "),
    ):
        assert said in body, said


def test_the_card_of_hub_models_and_data_names_them_in_the_hub_s_metadata(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    """As after a run on hub models: only the identities differ, which no test here can fetch."""
    from w2s_cli.results.exported import card
    from w2s_cli.results.stages import Stage, read_stage
    from w2s_cli.store.store import Store

    store = Store(tmp_path / "outputs")
    for folder in store.folders().values():
        job = json.loads((folder / "stage.json").read_text())
        if "model" in job["params"]:
            job["params"]["model"] = {"id": "Qwen/Qwen2.5-0.5B", "revision": "0" * 40}
        if "source" in job["params"]:
            job["params"]["source"] = {"hub": "allenai/sciq", "revision": "1" * 40}
        (folder / "stage.json").write_text(json.dumps(job))
    key = key_of(tmp_path, "finetune/student-*")
    model: Stage = read_stage(store, key)
    assert model.result is not None
    head = yaml.safe_load(card(store, model, model.result / "model", "0").split("---\n")[1])
    assert head["base_model"] == "Qwen/Qwen2.5-0.5B"
    assert head["datasets"] == ["allenai/sciq"]


def test_nothing_is_overwritten_and_a_model_without_weights_is_not_exported(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    key, label = key_of(tmp_path, "finetune/student-*"), key_of(tmp_path, "label/student*")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "plain").write_text("mine")
    for words, said in {
        ("export", key): "--out",
        ("export", key, "out=full"): "is not an empty folder",
        ("export", key, "out=plain"): "is not an empty folder",
        ("export", key, "out=plain/new"): "/plain: it is a file; choose another folder",
        ("export", label, "out=new"): "is no model and has no student (label)",
        ("export", "zzz", "out=new"): "no stage has a key or a folder",
    }.items():
        assert_refused(w2s_inside(*words, code=2), said)
    (weights,) = (tmp_path / "outputs").glob("stages/finetune/student-*/result/model/model.safetensors")
    before = weights.stat()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a disk fails: without a trace
    assert_refused(w2s_inside("export", key, "out=new", code=2), "was changed since it was made")
    w2s_inside("rm", "--weights", key)
    assert_refused(w2s_inside("export", key, "out=new", code=2), "were removed", "w2s pull URL")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "outputs", "plain"]
    assert (tmp_path / "full" / "file").read_text() == "mine"


@pytest.mark.slow
def test_a_run_with_several_students_names_them(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    w2s_inside("train", *ran, "seeds=2")
    done = w2s_inside("export", "latest", "out=new", code=2)
    assert_refused(done, '"latest" has 2 students', key_of(tmp_path, "finetune/student-*-s0-*"))


@pytest.mark.slow
def test_a_pushed_model_is_whole_on_the_hub(w2s: Run, ran: list[str], tmp_path: Path) -> None:
    key = key_of(tmp_path, "finetune/student-*")
    uploads = Uploads(tmp_path / "hub", TOKEN)
    with tiny_hub({}, uploads) as address:
        hub = {**online(tmp_path, address), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        said = w2s("export", key, "out=exported", "--push", "me/student", **hub).stdout
        assert f"pushed to {address}/me/student" in said
        files = [
            {path.name: path.read_bytes() for path in folder.iterdir()}
            for folder in (tmp_path / "hub/me/student", tmp_path / "exported")
        ]
        assert files[0] == files[1]
        assert uploads.private == {"me/student": True}
        again = w2s("export", key, "out=again", "--push", "me/student", code=2, **hub)
        assert_refused(again, "me/student has files on the hub", "nothing there is replaced")
        assert not (tmp_path / "again").exists()
        refused = w2s("export", key, "out=again", "--push", "me/other", code=2, **{**hub, "HF_TOKEN": "hf_wrong"})
        assert_refused(refused, "the hub refuses to write me/other", "hf auth login")
        nameless = w2s("export", key, "out=again", "--push", "a/b/c", code=2, **hub)
        assert_refused(nameless, '--push "a/b/c": this is no name')
        assert not (tmp_path / "again").exists()
    assert_refused(
        w2s("export", key, "out=again", "--push", "me/x", code=2, **{**hub, "HF_HUB_OFFLINE": "1"}),
        "me/x cannot be pushed to the hub",
        "HF_HUB_OFFLINE",
    )
    assert_refused(
        w2s("export", key, "out=again", "--push", "me/x", code=2, **hub), "me/x cannot be pushed to the hub", "refused"
    )
    assert not (tmp_path / "again").exists()


def test_a_push_that_breaks_off_says_how_to_go_on(w2s: Run, ran: list[str], tmp_path: Path) -> None:
    key = key_of(tmp_path, "finetune/student-*")
    uploads = Uploads(tmp_path / "hub", TOKEN, fails=True)
    with tiny_hub({}, uploads) as address:
        hub = {**online(tmp_path, address), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        done = w2s("export", key, "out=exported", "--push", "me/student", code=2, **hub)
    assert_refused(done, "The export itself is complete; push it with: hf upload me/student")
    assert (tmp_path / "exported/README.md").exists()
