"""A store in a repository of the hub: pushed, pulled and planned with, by the real command and the hub's real client, on localhost."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command.test_hub import online
from tests.command.test_wrong_commands import assert_refused
from tests.small_stores import add_stage, chain, content
from tests.tiny_hub import Uploads, tiny_hub

Run = Callable[..., subprocess.CompletedProcess[str]]
TOKEN, READER = "hf_right", "hf_reader"
DATA_SET = "hf://datasets/me/store/outputs"


@dataclass
class Hub:
    """A hub with the empty repository me/store, and the environment of a user who may write there."""

    uploads: Uploads
    words: dict[str, str]
    store: Path

    @property
    def sent(self) -> list[str]:
        """The requests that change something, in their order."""
        return [asked for asked in self.uploads.asked if not asked.startswith(("GET", "HEAD"))]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    uploads = Uploads(tmp_path / "hub", TOKEN, reader=READER)
    store = tmp_path / "hub/me/store"
    store.mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    with tiny_hub({"me/store": store}, uploads) as address:
        words = {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "TMPDIR": str(tmp_path / "temporary")}
        yield Hub(uploads, {**online(tmp_path, address), **words}, store)


def test_a_pushed_run_is_pulled_and_its_stages_count_as_cached(
    w2s: Run, ran: list[str], hub: Hub, tmp_path: Path
) -> None:
    pushed = w2s("push", DATA_SET, **hub.words)
    assert "pushed 11 stages" in pushed.stdout
    assert pushed.stderr == ""  # no bars and no warnings of the client
    assert not list((tmp_path / "temporary").iterdir())  # no second copy of large files
    assert len(hub.uploads.commits) == 11  # the hub limits the commits of an hour
    assert all(any(path.endswith("/record.json") for path in commit) for commit in hub.uploads.commits)
    before = len(hub.uploads.asked)
    again = w2s("push", DATA_SET, "latest", **hub.words).stdout
    assert "pushed 0 stages (0 B)" in again
    assert "11 already there" in again
    assert all(asked.startswith("GET /api/") for asked in hub.uploads.asked[before:])  # nothing sent, no file read back
    mine = tmp_path / "mine"
    (tmp_path / "outputs").rename(mine)
    plan = w2s("plan", *ran, f"remotes=['{DATA_SET}']", **hub.words).stdout
    assert "11 stages, 0 to run, 11 cached, 11 of them in another store" in plan
    assert "pulled 11 stages" in w2s("pull", DATA_SET, **hub.words).stdout
    assert content(tmp_path / "outputs") == content(mine)
    assert "11 finished stages verified" in w2s("doctor", "--verify").stdout


@pytest.mark.slow
def test_a_run_takes_its_stages_from_the_hub_and_trains_nothing(
    w2s: Run, ran: list[str], hub: Hub, tmp_path: Path
) -> None:
    w2s("push", DATA_SET, **hub.words)
    shutil.rmtree(tmp_path / "outputs")
    done = w2s("train", *ran, f"remotes=['{DATA_SET}']", **{**hub.words, "HF_TOKEN": READER})
    assert "pulled 11 stages" in done.stdout
    assert "PGR" in done.stdout
    assert not list((tmp_path / "outputs").glob("stages/*/*/log.txt"))


def test_a_repository_of_models_and_a_named_branch_are_stores_too(w2s: Run, hub: Hub, tmp_path: Path) -> None:
    chain(tmp_path / "outputs")
    for url in ("hf://me/store/deep/outputs", "hf://datasets/me/store@main/other"):
        pushed = w2s("push", url, "--all", **hub.words)
        assert "pushed 4 stages" in pushed.stdout
        assert pushed.stderr == ""
        assert "pulled 4 stages" in w2s("pull", url, "outputs=copy", **hub.words).stdout
        assert content(tmp_path / "copy") == content(tmp_path / "outputs")
        shutil.rmtree(tmp_path / "copy")


@pytest.mark.slow
def test_what_the_hub_refuses_is_one_message_and_nothing_is_sent(w2s: Run, hub: Hub, tmp_path: Path) -> None:
    chain(tmp_path / "outputs")
    wrong, offline = {"HF_TOKEN": "hf_wrong"}, {"HF_HUB_OFFLINE": "1"}
    for words, changed, said in [
        (("push", DATA_SET, "--all"), wrong, ["refuses access to dataset me/store", "(HTTP 401)", "HF_TOKEN"]),
        (("pull", DATA_SET, "outputs=b"), wrong, ["refuses access to dataset me/store", "(HTTP 401)", "HF_TOKEN"]),
        (("push", DATA_SET, "--all"), {"HF_TOKEN": READER}, ["refuses access", "(HTTP 403)", "hf auth login"]),
        (("push", "hf://datasets/me/new", "--all"), {}, ["there is no dataset me/new", "hf repos create me/new"]),
        (("pull", "hf://me/new/x", "outputs=b"), {}, ["there is no model me/new", "--type model"]),
        (("pull", f"{DATA_SET}/none", "outputs=b"), {}, ["has no finished stage"]),
        (("push", "hf://datasets/me", "--all"), {}, ["names no repository: write hf://datasets/OWNER/NAME/FOLDER"]),
        (("push", "hf://datasets/me/store@v9", "--all"), {}, ["dataset me/store has no revision v9"]),
        (("push", DATA_SET, "--all"), offline, ["HF_HUB_OFFLINE"]),
    ]:
        done = w2s(*words, code=2, **{**hub.words, **changed})
        assert_refused(done, *said)
        assert "hf_" not in done.stderr  # no token is repeated
    assert hub.uploads.commits == []
    assert not (tmp_path / "b").exists()


def test_a_push_that_the_hub_broke_off_goes_on_with_what_is_missing(
    w2s: Run, ran: list[str], hub: Hub, tmp_path: Path
) -> None:
    hub.uploads.refuses = "stages/finetune/student-"
    refused = w2s("push", DATA_SET, code=2, **hub.words)
    assert_refused(refused, "the hub answers HTTP 500: the commit cannot be stored")
    first = len(hub.uploads.commits)
    assert 0 < first < 11
    hub.uploads.refuses = ""
    done = w2s("push", DATA_SET, **hub.words).stdout
    assert f"pushed {11 - first} stages" in done
    assert f"{first} already there" in done
    puts = [asked for asked in hub.sent if asked.startswith("PUT")]
    assert len(puts) == len(set(puts))  # no large file went twice, not even the refused stage's
    w2s("pull", DATA_SET, "outputs=other", **hub.words)
    assert content(tmp_path / "other") == content(tmp_path / "outputs")


@pytest.mark.parametrize("point", ["send.file:2", "send.before-record"])
def test_a_killed_push_leaves_no_half_stage_and_sends_no_weights_twice(
    point: str, w2s: Run, hub: Hub, tmp_path: Path
) -> None:
    key = chain(tmp_path / "outputs")["model"]
    w2s("push", DATA_SET, key, "--only", code=-9, W2S_FAULT=point, **hub.words)
    assert hub.uploads.commits == []
    assert "pushed 1 stage (3.0 kB" in w2s("push", DATA_SET, key, "--only", **hub.words).stdout
    (commit,) = hub.uploads.commits
    assert len(commit) == 5
    assert len([asked for asked in hub.sent if asked.startswith("PUT")]) == 1
    assert "pulled 1 stage" in w2s("pull", DATA_SET, "outputs=other", **hub.words).stdout


def test_weights_that_the_hub_lacks_are_added_and_a_conflict_stays(w2s: Run, hub: Hub, tmp_path: Path) -> None:
    chain(tmp_path / "outputs")
    w2s("pull", "outputs", "--no-weights", "outputs=light")
    w2s("push", DATA_SET, "--all", "outputs=light", **hub.words)
    assert not list(hub.store.rglob("*.safetensors"))
    assert "weights added" in w2s("push", DATA_SET, "--all", **hub.words).stdout
    assert len(list(hub.store.rglob("*.safetensors"))) == 1
    before = content(hub.store / "outputs")
    add_stage(tmp_path / "yours", "rows", "train", {"rows.parquet": b"x" * 100})
    done = w2s("push", DATA_SET, "--all", "outputs=yours", code=2, **hub.words)
    assert "the same key has another result" in done.stdout
    assert content(hub.store / "outputs") == before
