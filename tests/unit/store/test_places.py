"""Places: only what lies in the real path of a store is written or removed there, and only names become paths."""

import shutil
from pathlib import Path

import pytest

from w2s_cli.hub import cached_commit
from w2s_cli.store import keys
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import claim
from w2s_cli.store.files import digest, read_json, safe_name, write_json
from w2s_cli.store.places import StoreError, check_name, lies_in, owned
from w2s_cli.store.store import Store

KEY = "0123456789ab"


def finished(root: Path) -> Path:
    """A finished stage in a store."""
    folder = root / "stages" / "finetune" / f"weak-{KEY}"
    (folder / "result.tmp" / "model").mkdir(parents=True)
    (folder / "result.tmp" / "model" / "model.safetensors").write_bytes(b"w" * 1000)
    (folder / "result.tmp" / "labels.parquet").write_bytes(b"labels")
    publish.publish(folder, {}, {"run": "first"})
    return folder


def name_in_manifest(folder: Path, name: str) -> None:
    """Let the manifest list a file, and let the record vouch for the manifest."""
    manifest = read_json(folder / "result" / "manifest.json")
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    write_json(folder / "result" / "manifest.json", manifest)
    record = read_json(folder / "record.json")
    write_json(folder / "record.json", {**record, "result": digest(folder / "result" / "manifest.json")})


def test_a_whole_store_behind_a_link_is_its_own_place(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    folder = finished(tmp_path / "outputs")
    with claim(folder) as claimed:
        assert claimed
        assert publish.prune_weights(folder) == 1000


@pytest.mark.parametrize("name", ["../x", "a/../x", "a/../../x", "/etc/passwd", "link", "link/x", "a\0b", "inner/x"])
def test_only_plain_paths_below_the_root_lie_in_a_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "store" / "a").mkdir(parents=True)
    (tmp_path / "store" / "link").symlink_to(tmp_path)
    (tmp_path / "store" / "inner").symlink_to("a")  # another place of the same store: not the one that was named
    root = tmp_path / "store"
    assert lies_in(root / "a" / "x", root)
    assert not lies_in(root / name, root)
    with pytest.raises(StoreError, match="neither writes nor removes"):
        owned(root / name, root)


@pytest.mark.parametrize("name", ["model/../../../../../outside.bin", "{outside}"])
def test_a_manifest_cannot_name_a_file_outside_the_result(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside.bin"
    outside.write_text("keep")
    folder = finished(tmp_path / "store")
    name_in_manifest(folder, name.format(outside=outside))
    with pytest.raises(StoreError, match=f"w2s rm {KEY}"):
        publish.prune_weights(folder)
    assert outside.read_text() == "keep"
    assert Store(tmp_path / "store").state(KEY).word == "damaged"


def test_weights_behind_a_link_stay(tmp_path: Path) -> None:
    folder = finished(tmp_path / "store")
    shutil.move(folder / "result" / "model", tmp_path / "model")
    (folder / "result" / "model").symlink_to(tmp_path / "model")
    with pytest.raises(StoreError, match="lies behind one"):
        publish.prune_weights(folder)
    assert (tmp_path / "model" / "model.safetensors").stat().st_size == 1000


@pytest.mark.parametrize(
    "name", ["", "result", "work", "result.tmp", "old", ".lock", "log.txt", "record.json", "stage.json"]
)
def test_no_stage_is_claimed_or_prepared_whose_folder_or_file_is_a_link(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    folder = finished(store.root)
    path = folder / name
    if path.exists():
        shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"), claim(folder):
        pass
    assert not (tmp_path / "elsewhere").is_file() or name in ("record.json", "stage.json")
    assert not (folder / "owner.json").exists()


def test_a_kind_behind_a_link_takes_no_stage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.stages.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (store.stages / "label").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        store.prepare(keys.identity("label", 1, {}, {}), name="n", slug="s", execution={})
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["../../../outside", "/outside", ".."])
def test_an_old_result_is_moved_into_its_stage_whatever_its_record_calls_it(tmp_path: Path, name: str) -> None:
    folder = finished(tmp_path / "store")
    write_json(folder / "record.json", {**read_json(folder / "record.json"), "run": name})
    publish.retire(folder)
    (moved,) = (folder / "old").iterdir()
    assert (moved / "result" / "labels.parquet").exists()


def test_a_cache_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    store = Store(tmp_path / "store")
    store.root.mkdir()
    (store.root / ".cache").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        _ = store.digests


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "/etc", "a//b", "a/../b", "../x", "a/.", "a\nb", "a\0", "a\\b", "-f", " a"]
)
def test_a_text_that_leads_elsewhere_is_no_name(name: str) -> None:
    with pytest.raises(StoreError, match="this is no name"):
        check_name(name, "the revision")


@pytest.mark.parametrize(
    "name", ["main", "v1.0", "refs/pr/3", "refs/convert/parquet", "größe_2", "_x", "a..b", "step-3 (best)"]
)
def test_names_of_branches_and_runs_are_names(name: str) -> None:
    assert check_name(name, "the revision") == name


@pytest.mark.parametrize(
    "name", ["", ".", "../../x", "/etc/passwd", "a/../b", "..", "a\0b", "\\..\\x", "x" * 500, "-rf"]
)
def test_a_name_that_users_choose_becomes_one_part_of_a_path(name: str) -> None:
    part = safe_name(name)
    assert check_name(part, "the slug") == part
    assert len(Path(part).parts) == 1
    assert len(part.encode()) <= 255


def test_a_revision_cannot_read_a_file_outside_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    refs = tmp_path / "hub" / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    (tmp_path / "secret").write_text("a" * 40)
    (refs / "main").write_text("b" * 40)
    (refs / "odd").write_text("no commit")
    assert cached_commit("model", "org/m", "main") == "b" * 40
    assert cached_commit("model", "org/m", "odd") is None
    with pytest.raises(StoreError, match="the revision of model org/m"):
        cached_commit("model", "org/m", "../../../secret")
