"""The store: a result is there in full or not at all, and what happened to it since is noticed."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from w2s_cli.store import keys
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import claim, is_claimed
from w2s_cli.store.files import SEAL, read_json, sha256_file, write_json
from w2s_cli.store.locks import fault_of
from w2s_cli.store.places import StoreError
from w2s_cli.store.store import Store, folder_state

PUBLISH_POINTS = [
    "publish.begin",
    "publish.synced",
    "publish.manifest-written",
    "publish.old-moved",
    "publish.renamed",
    "publish.recorded",
    "publish.cleaned",
]

PUBLISH_ONE = """
import sys
from pathlib import Path
from w2s_cli.store import publishing as publish
folder = Path(sys.argv[1])
run = sys.argv[2]
if not (folder / "record.json").exists() or run == "redo":
    if (folder / "record.json").exists() or not publish.adopt(folder, {"run": run}):
        import shutil
        shutil.rmtree(folder / "result.tmp", ignore_errors=True)
        (folder / "result.tmp" / "model").mkdir(parents=True)
        (folder / "result.tmp" / "model" / "model.safetensors").write_bytes(b"w" * 1000)
        (folder / "result.tmp" / "labels.parquet").write_bytes(b"l" * 100)
        publish.publish(folder, {"accuracy": 0.5}, {"run": run})
"""


def finished(folder: Path, run: str = "first") -> Path:
    """A published stage with weights and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.tmp" / "model").mkdir(parents=True)
    (folder / "result.tmp" / "model" / "model.safetensors").write_bytes(b"w" * 1000)
    (folder / "result.tmp" / "labels.parquet").write_bytes(b"l" * 100)
    publish.publish(folder, {"accuracy": 0.5}, {"run": run})
    return folder


@pytest.mark.parametrize("redo", [False, True])
@pytest.mark.parametrize("point", PUBLISH_POINTS)
def test_a_kill_between_any_two_steps_of_publishing_is_continued(tmp_path: Path, point: str, redo: bool) -> None:
    folder, log = tmp_path / "stage-0123456789ab", tmp_path / "hits"
    if redo:
        finished(folder)
    elif point == "publish.old-moved":
        pytest.skip("nothing is moved away when there is no old result")
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-c", PUBLISH_ONE, str(folder), "redo" if redo else "run"]
    armed = environment(W2S_FAULT=point, W2S_FAULT_LOG=str(log))
    assert subprocess.run(words, env=armed, cwd=ROOT, check=False).returncode == -9
    assert log.read_text() == f"{point}\n"
    words[-1] = "run"
    subprocess.run(words, env=environment(), cwd=ROOT, check=True)
    state = folder_state(folder, full=True)
    assert (state.word, state.metrics) == ("done", {"accuracy": 0.5})


def test_an_old_result_is_kept_when_a_stage_is_made_again(tmp_path: Path) -> None:
    folder = finished(tmp_path / "stage")
    finished(folder, run="second")
    assert folder_state(folder).record["run"] == "second"
    assert (folder / "old" / "first" / "result" / "labels.parquet").exists()


@pytest.mark.parametrize("name", ["labels.parquet", "manifest.json", "model/model.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_a_damaged_artifact_is_noticed(tmp_path: Path, name: str, harm: str) -> None:
    folder = finished(tmp_path / "stage")
    path = folder / "result" / name
    content = bytearray(path.read_bytes())
    if harm == "delete":
        path.unlink()
    else:
        content[-1] ^= 1
        path.write_bytes(content if harm == "flip" else content[:-1])
    state = folder_state(folder)
    assert state.word == "damaged"
    assert name.split("/")[-1] in state.detail


def test_weights_that_changed_without_a_trace_are_found_by_the_full_check_only(tmp_path: Path) -> None:
    folder = finished(tmp_path / "stage")
    path = folder / "result" / "model" / "model.safetensors"
    before = path.stat()
    path.write_bytes(b"x" + b"w" * 999)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert folder_state(folder).word == "done"
    assert folder_state(folder, full=True).word == "damaged"


def test_a_tampered_or_truncated_record_is_noticed(tmp_path: Path) -> None:
    folder = finished(tmp_path / "stage")
    record = read_json(folder / "record.json")
    write_json(folder / "record.json", {**record, "result": "0" * 64})
    assert folder_state(folder).word == "damaged"
    (folder / "record.json").write_text("{")
    assert folder_state(folder).word == "damaged"


def test_a_store_that_was_copied_elsewhere_works(tmp_path: Path) -> None:
    finished(tmp_path / "one" / "stages" / "label" / "weak-0123456789ab")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)  # new times
    assert Store(tmp_path / "two").state("0123456789ab").word == "done"


def test_removed_weights_are_a_state_and_no_damage(tmp_path: Path) -> None:
    folder = finished(tmp_path / "stage")
    assert publish.prune_weights(folder) == 1000
    state = folder_state(folder, full=True)
    assert state.word == "done"
    assert state.pruned
    assert publish.prune_weights(folder) == 0


def test_a_claim_is_exclusive_and_ends_with_the_process(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom w2s_cli.store.claims import claim\n"
        "with claim(Path(sys.argv[1])) as mine:\n    print(mine, flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=environment(), cwd=ROOT, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        assert is_claimed(tmp_path)
        with claim(tmp_path) as mine:
            assert not mine
        other.kill()
        other.wait()
    with claim(tmp_path) as mine:
        assert mine
    assert fault_of(tmp_path) is None


def test_another_stage_under_the_same_key_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ident = keys.identity("label", 1, {"a": 1}, {})
    folder = store.prepare(ident, name="n", slug="s", execution={})
    job = read_json(folder / "stage.json")
    write_json(folder / "stage.json", {**job, "params": {"a": 2}})
    with pytest.raises(StoreError, match="was edited"):
        store.prepare(ident, name="n", slug="s", execution={})


def test_two_commands_agree_on_one_folder_whatever_they_call_it(tmp_path: Path) -> None:
    ident = keys.identity("label", 1, {"a": 1}, {})
    one = Store(tmp_path).prepare(ident, name="labels", slug="weak-gpt2", execution={})
    other = Store(tmp_path).prepare(ident, name="labels", slug="weak-mine", execution={"device": "cpu"})
    assert one == other


def test_digest_is_read_again_when_content_changes_but_not_when_only_asked_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache" / "digests.json"
    path.write_bytes(b"one")
    first = sha256_file(path, cache)
    assert sha256_file(path, cache) == first
    assert len(read_json(cache).keys() - {SEAL}) == 1
    path.write_bytes(b"two!")
    assert sha256_file(path, cache) != first


def test_a_file_edited_in_place_with_its_old_time_is_read_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "rows.jsonl", tmp_path / "digests.json"
    path.write_bytes(b"one")
    first, times = sha256_file(path, cache), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (times.st_mtime_ns, times.st_size)
    assert sha256_file(path, cache) == hashlib.sha256(b"two").hexdigest() != first


def test_a_wrong_entry_of_the_cache_is_corrected_by_a_reader_of_the_bytes(tmp_path: Path) -> None:
    path, cache = tmp_path / "rows.jsonl", tmp_path / "digests.json"
    path.write_bytes(b"one")
    right = sha256_file(path, cache)
    write_json(cache, {name: "wrong" for name in read_json(cache) if name != SEAL})
    assert sha256_file(path, cache) == "wrong"
    assert sha256_file(path, cache, again=True) == right
    assert sha256_file(path, cache) == right


def test_stray_files_in_the_outputs_folder_are_ignored(tmp_path: Path) -> None:
    finished(tmp_path / "stages" / "label" / "weak-0123456789ab")
    for place in (tmp_path / "stages", tmp_path / "stages" / "label"):
        (place / ".DS_Store").write_bytes(b"")
    assert list(Store(tmp_path).folders()) == ["0123456789ab"]
