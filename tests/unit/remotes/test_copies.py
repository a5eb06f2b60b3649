"""Stages between stores: complete, verified, never over anything finished; on a path and on an S3 server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.small_stores import add_stage, chain, content
from w2s_cli.remotes.address import Ended, Remote, open_remote
from w2s_cli.remotes.checksums import Sums
from w2s_cli.remotes.fetch import Outcome, fetch
from w2s_cli.remotes.listing import complete, listing
from w2s_cli.remotes.offers import Refused
from w2s_cli.remotes.send import send
from w2s_cli.store.claims import claim
from w2s_cli.store.files import read_json
from w2s_cli.store.publishing import damage, prune_weights
from w2s_cli.store.store import Store, folder_state


def pull(remote: Remote, key: str, root: Path, *, whole: bool = True) -> Outcome:
    """One stage of a remote into a store."""
    return fetch(listing(remote)[key], Store(root), whole=whole)


def folder_of(root: Path, key: str) -> Path:
    """The stage's folder, which exists."""
    folder = Store(root).folder(key)
    assert folder is not None
    return folder


@pytest.fixture(params=["path", "s3", "gs"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """A store elsewhere with the stages of `chain`."""
    chain(tmp_path / "mine")
    if request.param == "path":
        return open_remote(str(tmp_path / "mine"))
    other = open_remote(f"{request.getfixturevalue(request.param)}/outputs")
    for folder in Store(tmp_path / "mine").folders().values():
        send(folder, other, None)
    return other


def test_a_copied_stage_has_the_same_bytes_and_counts_as_done(remote: Remote, tmp_path: Path) -> None:
    entries = complete(listing(remote))
    outcomes = [fetch(entry, Store(tmp_path / "yours")) for entry in entries.values()]
    assert len(outcomes) == 4
    assert {outcome.word for outcome in outcomes} == {"copied"}
    assert content(tmp_path / "yours") == content(tmp_path / "mine")
    for key in entries:
        ours, theirs = folder_of(tmp_path / "mine", key), folder_of(tmp_path / "yours", key)
        assert folder_state(theirs, full=True).digest == folder_state(ours, full=True).digest
        assert read_json(theirs / "stage.json")["execution"] == {}  # no folder of code of another machine
        assert read_json(theirs / "record.json")["run"] == read_json(ours / "record.json")["run"]
    again = [fetch(entry, Store(tmp_path / "yours")) for entry in entries.values()]
    assert {(outcome.word, outcome.bytes) for outcome in again} == {("already there", 0)}


def test_without_weights_a_table_has_all_it_reads_and_the_weights_can_follow(remote: Remote, tmp_path: Path) -> None:
    key = next(key for key, entry in listing(remote).items() if entry.has(["model/model.safetensors"]))
    light = pull(remote, key, tmp_path / "yours", whole=False)
    folder = folder_of(tmp_path / "yours", key)
    assert (light.word, light.left_out) == ("copied", 1)
    assert not (folder / "result/model/model.safetensors").exists()
    state = folder_state(folder, full=True)
    assert (state.word, state.pruned, state.metrics) == ("done", True, {"accuracy": 0.5})
    added = pull(remote, key, tmp_path / "yours")
    assert (added.word, added.bytes) == ("weights added", 3000)
    state = folder_state(folder, full=True)
    assert (state.word, state.pruned) == ("done", False)


def test_another_result_under_the_same_key_is_a_conflict_and_both_stay(remote: Remote, tmp_path: Path) -> None:
    key = add_stage(tmp_path / "yours", "rows", "train", {"rows.parquet": b"x" * 100})
    before = content(tmp_path / "yours"), content(tmp_path / "mine")
    with pytest.raises(Refused, match="the same key has another result") as refused:
        pull(remote, key, tmp_path / "yours")
    assert refused.value.word == "conflict"
    if remote.folder is None:
        with pytest.raises(Refused, match="the same key has another result"):
            send(folder_of(tmp_path / "yours", key), remote, listing(remote)[key])
        assert remote.fs.cat_file(f"{listing(remote)[key].folder}/result/rows.parquet") == b"r" * 100
    assert (content(tmp_path / "yours"), content(tmp_path / "mine")) == before


def test_a_damaged_stage_here_is_replaced_and_the_old_result_is_kept(remote: Remote, tmp_path: Path) -> None:
    key = next(key for key, entry in listing(remote).items() if entry.has(["labels.parquet"]))
    pull(remote, key, tmp_path / "yours")
    folder = folder_of(tmp_path / "yours", key)
    (folder / "result/labels.parquet").write_bytes(b"broken")
    assert pull(remote, key, tmp_path / "yours").word == "copied"
    assert not damage(folder, full=True)
    assert [path.read_bytes() for path in folder.glob("old/*/result/labels.parquet")] == [b"broken"]


def test_a_stage_that_a_process_works_on_is_left_alone(remote: Remote, tmp_path: Path) -> None:
    key = next(iter(listing(remote)))
    entry = listing(remote)[key]
    pull(remote, key, tmp_path / "yours")
    folder = folder_of(tmp_path / "yours", key)
    (folder / "record.json").unlink()
    with claim(folder), pytest.raises(Refused, match="works on it"):
        fetch(entry, Store(tmp_path / "yours"))
    assert fetch(entry, Store(tmp_path / "yours")).word == "copied"


COPY = """
import sys
from pathlib import Path
from w2s_cli.remotes.address import open_remote
from w2s_cli.remotes.checksums import Sums
from w2s_cli.remotes.fetch import fetch
from w2s_cli.remotes.listing import listing
from w2s_cli.remotes.send import send
from w2s_cli.store.store import Store
way, url, root, key, whole = sys.argv[1:]
store, remote = Store(Path(root)), open_remote(url)
if way == "send":
    print(send(store.folder(key), remote, listing(remote).get(key)))
else:
    print(fetch(listing(remote)[key], store, whole=whole == "whole"))
"""


def copy_in_a_process(way: str, url: str, root: Path, key: str, *, whole: bool = True, **extra: str) -> int:
    """The exit code of a process that copies one stage."""
    words = [sys.executable, "-c", COPY, way, url, str(root), key, "whole" if whole else "light"]
    return subprocess.run(words, env=environment(**extra), cwd=ROOT, check=False).returncode


FETCHED = ["fetch.file", "fetch.file:2", "fetch.downloaded", "publish.renamed", "publish.recorded"]


@pytest.mark.parametrize("point", [*FETCHED, "publish.old-moved"])
def test_a_pull_that_was_killed_at_any_step_is_continued(point: str, tmp_path: Path) -> None:
    url, root = str(tmp_path / "mine"), tmp_path / "yours"
    key = chain(tmp_path / "mine")["model"]
    if point == "publish.old-moved":
        pull(open_remote(url), key, root)
        (folder_of(root, key) / "result/model/config.json").write_bytes(b"broken")
    armed = {"W2S_FAULT": point, "W2S_FAULT_LOG": str(tmp_path / "hits")}
    assert copy_in_a_process("fetch", url, root, key, **armed) == -9
    assert (tmp_path / "hits").read_text() == f"{point.partition(':')[0]}\n"
    done = folder_state(folder_of(root, key)).word == "done"
    assert done == (point == "publish.recorded")
    outcome = pull(open_remote(url), key, root)
    assert outcome.fine
    if point not in ("fetch.file", "publish.old-moved"):  # what was complete is not copied again
        assert outcome.bytes == 0
    assert folder_state(folder_of(root, key), full=True).word == "done"
    assert content(root).items() <= content(tmp_path / "mine").items()
    assert not (folder_of(root, key) / "result.tmp").exists()


def test_weights_that_a_killed_pull_was_adding_are_added(tmp_path: Path) -> None:
    url, root = str(tmp_path / "mine"), tmp_path / "yours"
    key = chain(tmp_path / "mine")["model"]
    pull(open_remote(url), key, root, whole=False)
    for point in ("fetch.file", "fetch.weights-moved"):
        armed = {"W2S_FAULT": point, "W2S_FAULT_LOG": str(tmp_path / "hits")}
        assert copy_in_a_process("fetch", url, root, key, **armed) == -9
        assert folder_state(folder_of(root, key), full=True).word == "done"
    assert pull(open_remote(url), key, root).fine
    state = folder_state(folder_of(root, key), full=True)
    assert (state.word, state.pruned) == ("done", False)


@pytest.mark.parametrize("point", ["send.file", "send.file:2", "send.before-record"])
def test_a_push_that_was_killed_at_any_step_is_continued(
    point: str,
    s3: str,
    tmp_path: Path,
) -> None:
    key = chain(tmp_path / "mine")["model"]
    url = f"{s3}/deep/outputs"
    armed = {"W2S_FAULT": point, "W2S_FAULT_LOG": str(tmp_path / "hits")}
    assert copy_in_a_process("send", url, tmp_path / "mine", key, **armed) == -9
    assert (tmp_path / "hits").read_text() == f"{point.partition(':')[0]}\n"
    remote = open_remote(url)
    there = listing(remote)[key]
    assert not there.complete
    outcome = send(folder_of(tmp_path / "mine", key), remote, there)
    assert outcome.word == "copied"
    assert outcome.bytes == (3000 if point == "send.file" else 0)  # config.json is first
    assert pull(remote, key, tmp_path / "yours").word == "copied"
    again = send(folder_of(tmp_path / "mine", key), remote, listing(remote)[key])
    assert (again.word, again.bytes) == ("already there", 0)


def test_a_file_of_the_right_size_with_other_bytes_is_sent_again(s3: str, tmp_path: Path) -> None:
    key, remote = chain(tmp_path / "mine")["rows"], open_remote(f"{s3}/outputs")
    folder = folder_of(tmp_path / "mine", key)
    remote.fs.pipe_file(f"{remote.root}/stages/rows/{folder.name}/result/rows.parquet", b"z" * 100)
    assert send(folder, remote, listing(remote)[key]).bytes == 100
    assert pull(remote, key, tmp_path / "yours").word == "copied"


def test_a_stage_that_is_damaged_here_is_not_sent(s3: str, tmp_path: Path) -> None:
    key, remote = chain(tmp_path / "mine")["model"], open_remote(f"{s3}/outputs")
    folder = folder_of(tmp_path / "mine", key)
    (folder / "result/model/model.safetensors").write_bytes(b"W" * 3000)
    with pytest.raises(Refused, match="other bytes here"):
        send(folder, remote, None)
    assert not complete(listing(remote))


def test_a_finished_stage_that_is_torn_there_is_told(s3: str, tmp_path: Path) -> None:
    key, remote = chain(tmp_path / "mine")["rows"], open_remote(f"{s3}/outputs")
    folder = folder_of(tmp_path / "mine", key)
    send(folder, remote, None)
    remote.fs.pipe_file(f"{listing(remote)[key].folder}/result/rows.parquet", b"cut")
    with pytest.raises(Refused, match="another size") as refused:
        send(folder, remote, listing(remote)[key])
    assert refused.value.word == "damaged there"


def test_weights_that_a_remote_lacks_are_added_there(s3: str, tmp_path: Path) -> None:
    key, remote = chain(tmp_path / "mine")["model"], open_remote(f"{s3}/outputs")
    pull(open_remote(str(tmp_path / "mine")), key, tmp_path / "light", whole=False)
    assert send(folder_of(tmp_path / "light", key), remote, None).word == "copied"
    assert pull(remote, key, tmp_path / "first").word == "copied"
    assert folder_state(folder_of(tmp_path / "first", key)).pruned
    outcome = send(folder_of(tmp_path / "mine", key), remote, listing(remote)[key])
    assert (outcome.word, outcome.bytes) == ("weights added", 3000)
    assert pull(remote, key, tmp_path / "first").word == "weights added"
    assert not folder_state(folder_of(tmp_path / "first", key), full=True).pruned


def test_weights_that_were_removed_here_come_back(remote: Remote, tmp_path: Path) -> None:
    key = next(key for key, entry in listing(remote).items() if entry.has(["model/model.safetensors"]))
    pull(remote, key, tmp_path / "yours")
    folder = folder_of(tmp_path / "yours", key)
    prune_weights(folder)
    assert folder_state(folder).pruned
    assert pull(remote, key, tmp_path / "yours").word == "weights added"
    assert not damage(folder, full=True)


def test_files_that_an_object_store_cuts_into_parts_are_proved_by_its_checksum(s3: str, tmp_path: Path) -> None:
    """S3's ETag of an upload in parts is the MD5 of the parts' MD5s: no gigabyte is read back."""
    part = 5 << 20  # the smallest that S3 takes
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * (3 * part // 256) + b"end")
    fs = open_remote(f"{s3}/x").fs
    fs.put_file(str(path), "shared/large", chunksize=part)
    facts = fs.info("shared/large")
    assert facts["ETag"].endswith('-4"')
    for step in (1 << 20, 7 << 20):  # whatever pieces the file is read in
        whole = path.read_bytes()
        sums = Sums(len(whole), part)
        for start in range(0, len(whole), step):
            sums.add(whole[start : start + step])
        assert sums.proved_by(facts)
        assert not sums.proved_by({**facts, "ETag": '"0-4"'})


def test_a_file_that_gs_takes_in_parts_is_proved_by_its_checksum(gs: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * (6 << 12) + b"end")  # more than the 5 MB that its client sends at once
    fs = open_remote(f"{gs}/x").fs
    fs.put_file(str(path), "shared/large", chunksize=1 << 20)
    facts = fs.info("shared/large")
    sums = Sums.of(path.read_bytes())
    assert facts["size"] == sums.size
    assert sums.proved_by(facts)
    assert not sums.proved_by({**facts, "md5Hash": "0"})


def test_a_proof_is_one_of_the_content(tmp_path: Path) -> None:
    sums = Sums.of(b"abc")
    assert sums.proved_by({"ETag": '"900150983cd24fb0d6963f7d28e17f72"'})  # RFC 1321
    assert sums.proved_by(
        {"blob_id": "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"}
    )  # printf abc | git hash-object --stdin
    assert not sums.proved_by({"blob_id": "a9993e364706816aba3e25717850c26c9cd0d89d"})  # SHA-1 without git's head
    assert sums.proved_by({"md5Hash": "kAFQmDzST7DWlj99KOF/cg=="})
    assert sums.proved_by({"lfs": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}})
    for facts in ({}, {"ETag": '"x"'}, {"ETag": None}, {"lfs": None}, {"size": 3}):
        assert not sums.proved_by(facts)


def test_what_is_sent_tells_nothing_of_this_machine_s_folders(s3: str, tmp_path: Path) -> None:
    key, remote = chain(tmp_path / "mine")["rows"], open_remote(f"{s3}/outputs")
    send(folder_of(tmp_path / "mine", key), remote, None)
    entry = listing(remote)[key]
    assert json.loads(remote.fs.cat_file(f"{entry.folder}/stage.json"))["execution"] == {}
    assert "times" not in json.loads(remote.fs.cat_file(f"{entry.folder}/record.json"))


def test_a_copy_that_has_to_stop_is_no_error_of_the_remote(s3: str, tmp_path: Path) -> None:
    key, remote = chain(tmp_path / "mine")["model"], open_remote(f"{s3}/outputs")

    def watch(count: int) -> None:
        raise Ended

    with pytest.raises(Ended):
        send(folder_of(tmp_path / "mine", key), remote, None, watch=watch)
