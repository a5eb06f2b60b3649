"""What the hub refuses is said in the same words by a plan, a model and a data set; a plan, and no run, can do without it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command.test_wrong_commands import assert_refused
from tests.conftest import ROOT, without_free_memory
from tests.tiny_hub import COMMIT, tiny_hub

Run = Callable[..., subprocess.CompletedProcess[str]]

REPOS: dict[str, Path | str] = {"org/gated": "gated", "org/token": "token", "org/down": "down"}
REFUSED = {  # what is asked for → what is said of it, whoever asks
    ("org/nothing", "main"): "there is no {} org/nothing on the hub, or it is private",
    ("org/gated", "v9"): "{} org/gated has no revision v9 on the hub",
    ("org/token", "main"): "the hub refuses access to {} org/token with this token (HTTP 401)",
    ("a/b/c", "main"): '"a/b/c" is no id of a {} on the hub',
}
LOAD = """
import json, sys
from pathlib import Path
from w2s_cli.data.hub import hub_files
from w2s_cli.errors import UserError
from w2s_cli.store.context import Context
from w2s_cli.training.models.opening import hub_folder

reasons = []
for kind, repo, revision in json.loads(sys.argv[1]):
    try:
        if kind == "model":
            hub_folder(repo, revision, Context(folder=Path("."), work=Path("."), result=Path(".")))
        else:
            hub_files({"hub": repo, "config": None, "revision": revision}, {"train": "train"})
    except UserError as error:
        reasons.append(str(error))
print(json.dumps(reasons))
"""
KINDS = ("model", "dataset")
LOADED = [(kind, *asked) for asked in (*REFUSED, ("org/gated", COMMIT)) for kind in KINDS]


def online(folder: Path, address: str) -> dict[str, str]:
    """The environment of a command that has a hub at `address` and nothing in its cache."""
    return {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0"}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], str]:
    """(kind, repository, revision) → the message of a stage that loads it; a fresh process, since the client is set up by its import."""
    folder = tmp_path_factory.mktemp("hub")
    with tiny_hub(REPOS) as address:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, json.dumps(LOADED)],
            cwd=folder,
            env={**kept, **online(folder, address), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    return dict(zip(LOADED, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", REFUSED, ids=lambda asked: f"{asked[0]}@{asked[1]}")
def test_plan_and_stage_give_the_same_reason(
    w2s: Run, tmp_path: Path, reasons: dict[tuple[str, str, str], str], kind: str, asked: tuple[str, str]
) -> None:
    repo, revision = asked
    said = REFUSED[asked].format(kind)
    of_model = ["strong=local", f"strong.id={repo}", f"strong.revision={revision}"]
    of_data = ["data=local", f"data.hub={repo}", f"data.revision={revision}", "data.text=text", "data.label=label"]
    with tiny_hub(REPOS) as address:
        done = w2s("plan", *(of_model if kind == "model" else of_data), code=None, **online(tmp_path, address))
    assert_refused(done, said)
    assert done.stderr.strip().removeprefix("w2s: ") == reasons[kind, repo, revision]


@pytest.mark.parametrize(("kind", "page"), [("model", "org/gated"), ("dataset", "datasets/org/gated")])
def test_the_terms_of_a_gated_repository_have_their_own_page(
    reasons: dict[tuple[str, str, str], str], kind: str, page: str
) -> None:
    assert f"accept its terms at https://huggingface.co/{page}," in reasons[kind, "org/gated", COMMIT]


def test_a_run_says_that_the_hub_is_down_and_a_plan_goes_on(w2s: Run, tmp_path: Path) -> None:
    words = ["strong=local", "strong.id=org/down"]
    with tiny_hub(REPOS) as address:
        said = "model org/down (revision main) is not in the hub cache"
        assert_refused(
            w2s("train", *words, code=None, **online(tmp_path, address)),
            said,
            "the hub answers HTTP 503",
            "strong.path=",
        )
        assert (
            "unknown commits: the hub cannot be reached (model org/down)"
            in w2s("plan", *words, **online(tmp_path, address)).stdout
        )


@pytest.mark.slow
def test_a_plan_without_a_network_stands_in_for_what_it_cannot_know_and_remembers_none_of_it(
    w2s: Run, tmp_path: Path
) -> None:
    words = ["weak=gpt2", "strong=wordnet-s", "data=sciq"]
    unreachable = online(tmp_path, "http://127.0.0.1:9")  # nothing listens there
    for environment in ({"HF_HOME": str(tmp_path / "hf")}, unreachable):
        shown = w2s("plan", *words, **environment).stdout
        assert "gpt2@main" in shown
        assert "11 stages, 11 to run, 0 cached" in shown
        assert (
            "unknown commits: the hub cannot be reached (dataset allenai/sciq, model gpt2). The keys of their stages"
            in shown
        )
        assert_refused(
            w2s("train", *words, code=None, **environment), "allenai/sciq (revision main) is not in the hub cache"
        )
    assert not (tmp_path / "outputs" / ".cache" / "revisions.json").exists()
    assert "unknown commits" not in w2s("plan").stdout


def test_what_the_hub_once_said_needs_no_stand_in(w2s: Run, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()  # the commit is noted in it
    words = ["strong=local", "strong.id=org/gated"]  # it tells its commit to everybody, and its files to few
    with tiny_hub(REPOS) as address:
        first = w2s("plan", *words, **online(tmp_path, address)).stdout
    assert f"@{COMMIT[:7]}" in first
    assert json.loads((tmp_path / "outputs" / ".cache" / "revisions.json").read_text()) == {
        "model:org/gated@main": COMMIT
    }
    assert without_free_memory(w2s("plan", *words).stdout) == without_free_memory(first)
