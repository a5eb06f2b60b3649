"""A remote is a stranger's: nothing that it says becomes a path, a record or a finished stage unchecked."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small_stores import chain, content, hide
from w2s_cli.errors import UserError
from w2s_cli.remotes import fetch as fetching
from w2s_cli.remotes import offers
from w2s_cli.remotes.address import Remote, UnreachableError, check_url, open_remote
from w2s_cli.remotes.fetch import fetch
from w2s_cli.remotes.listing import complete, listing
from w2s_cli.remotes.offers import Refused
from w2s_cli.store import keys
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.store import Store


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A stage's folder in another store, to break."""
    key = chain(tmp_path / "mine")["model"]
    folder = Store(tmp_path / "mine").folder(key)
    assert folder is not None
    return folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, and let the record name the changed one, as a stranger would."""
    manifest = read_json(folder / "result/manifest.json")
    change(manifest)
    write_json(folder / "result/manifest.json", manifest)
    digest = hashlib.sha256((folder / "result/manifest.json").read_bytes()).hexdigest()
    write_json(folder / "record.json", {**read_json(folder / "record.json"), "result": digest})


def assert_refused(folder: Path, reason: str, word: str = "damaged") -> None:
    """The stage is refused, and the other store has no file of it."""
    root = folder.parents[3] / "yours"
    with pytest.raises(Refused, match=reason) as refused:
        fetch(listing(open_remote(str(folder.parents[2])))[folder.name[-12:]], Store(root))
    assert refused.value.word == word
    assert content(root) == {}
    assert not list(root.glob("stages/*/*/record.json"))


NAMES = [
    "../../../../escaped",
    "/tmp/escaped",
    "model/../../../escaped",
    "..",
    "a\\..\\b",
    "a//b",
    "./a",
    "a\nb",
    "manifest.json",
    "",
    "x" * 300,
    "model/config.json/inside",
]


@pytest.mark.parametrize("name", [*NAMES, "a/" * 600 + "b"], ids=lambda name: repr(name)[:20])
def test_a_file_with_a_name_outside_of_the_result_is_refused(mine: Path, name: str) -> None:
    evil = b"evil"
    facts = {"size": len(evil), "sha256": hashlib.sha256(evil).hexdigest()}
    edit_manifest(mine, lambda manifest: manifest["files"].update({name: facts}))
    (mine.parents[3] / "escaped").write_bytes(evil)  # what such a name means from the result of the stage
    assert_refused(mine, r"manifest\.json")
    assert (mine.parents[3] / "escaped").read_bytes() == evil
    assert not (mine.parents[3] / "yours" / "escaped").exists()


def test_a_kind_that_is_a_path_is_refused(tmp_path: Path) -> None:
    """Such an identity has a sound key: a stranger computes it as we do."""
    ident = keys.identity("../../escaped", 1, {"name": "x"}, {})
    key = keys.stage_key(ident)
    folder = tmp_path / "mine/stages/rows" / f"x-{key}"
    (folder / "result").mkdir(parents=True)
    write_json(folder / "stage.json", {**ident, "key": key, "name": "x"})
    write_json(folder / "result/manifest.json", {"files": {}, "metrics": {}})
    digest = hashlib.sha256((folder / "result/manifest.json").read_bytes()).hexdigest()
    write_json(folder / "record.json", {"result": digest, "key": key})
    assert_refused(folder, "names no kind")
    assert not (tmp_path / "escaped").exists()


def test_an_edited_identity_has_another_key_and_is_refused(mine: Path) -> None:
    job = read_json(mine / "stage.json")
    write_json(mine / "stage.json", {**job, "params": {**job["params"], "name": "another"}})
    assert_refused(mine, "has the key .* and the folder")


def test_a_stage_in_a_folder_of_another_key_is_refused(mine: Path) -> None:
    renamed = mine.with_name(f"student-{'0' * 12}")
    os.rename(mine, renamed)
    assert_refused(renamed, "has the key .* and the folder 000000000000")


def test_a_stage_of_another_format_of_keys_is_refused(mine: Path) -> None:
    job = read_json(mine / "stage.json")
    ident = {**{name: job[name] for name in keys.IDENTITY}, "format": keys.FORMAT + 1}
    key = keys.stage_key(ident)
    renamed = mine.with_name(f"student-{key}")
    os.rename(mine, renamed)
    write_json(renamed / "stage.json", {**job, **ident, "key": key})
    write_json(renamed / "record.json", {**read_json(renamed / "record.json"), "key": key})
    assert_refused(renamed, "keys of format 3", "other format")


def test_a_record_that_leaves_out_more_than_weights_is_refused(mine: Path) -> None:
    """Such a stage would count as done, without its labels or its configuration."""
    write_json(mine / "record.json", {**read_json(mine / "record.json"), "pruned": ["model/config.json"]})
    assert_refused(mine, "other files than weights")


def test_a_remote_that_changes_its_mind_adds_no_weights(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are hashed while they are copied only, so their digest must be the one that this store already trusts."""
    root, remote = mine.parents[3] / "yours", open_remote(str(mine.parents[2]))
    fetch(listing(remote)[mine.name[-12:]], Store(root), whole=False)
    sound = (mine / "record.json").read_bytes()
    weights = mine / "result/model/model.safetensors"
    weights.write_bytes(b"e" * 3000)
    changed = hashlib.sha256(weights.read_bytes()).hexdigest()
    edit_manifest(mine, lambda manifest: manifest["files"]["model/model.safetensors"].update({"sha256": changed}))
    read = fetching.read_record_of
    monkeypatch.setattr(fetching, "read_record_of", lambda entry: read(entry) | {"result": json.loads(sound)["result"]})
    with pytest.raises(Refused, match="another one than a moment ago"):
        fetch(listing(remote)[mine.name[-12:]], Store(root))
    assert not list(root.rglob("*.safetensors"))


HARMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "flipped": (lambda content: bytes([content[0] ^ 1]) + content[1:], ""),
    "cut": (lambda content: content[:-1], ""),
    "longer": (lambda content: content + b"x", ""),
    "empty": (lambda content: b"", ""),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["model/model.safetensors", "model/config.json", "manifest.json"])
def test_a_damaged_file_is_refused_and_nothing_of_it_stays(mine: Path, name: str, harm: str) -> None:
    path = mine / "result" / name
    path.write_bytes(HARMS[harm][0](path.read_bytes()))
    assert_refused(mine, name.rpartition("/")[2].replace(".", r"\."))


@pytest.mark.parametrize("name", ["stage.json", "record.json"])
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "NaN", "{}", "[" * 100_000, '{"result": 1}'], ids=lambda text: text[:14]
)
def test_documents_of_any_other_shape_are_refused(mine: Path, name: str, text: str) -> None:
    (mine / name).write_text(text)
    assert_refused(mine, name.replace(".", r"\."))


def test_an_identity_that_is_nested_without_end_is_refused(mine: Path) -> None:
    job = json.dumps(read_json(mine / "stage.json"))
    deep = "[" * 900 + "]" * 900
    (mine / "stage.json").write_text(job.replace('"params": {', f'"params": {{"deep": {deep}, '))
    assert_refused(mine, r"stage\.json")


def test_a_document_larger_than_any_stage_has_is_not_read(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (mine / "result/manifest.json").open("r+b") as file:
        file.truncate(offers.LARGEST + 1)  # a file without blocks

    def read(*_: object, **__: object) -> bytes:
        raise AssertionError("it was read")

    remote = open_remote(str(mine.parents[2]))
    entry = listing(remote)[mine.name[-12:]]
    small = remote.fs.cat_file
    monkeypatch.setattr(
        remote.fs, "cat_file", lambda path, **more: read() if "manifest" in path else small(path, **more)
    )
    with pytest.raises(Refused, match="more than a document of a stage"):
        fetch(entry, Store(mine.parents[3] / "yours"))


def test_a_file_that_grows_while_it_is_copied_is_cut_at_its_size(mine: Path) -> None:
    """A server may send bytes without end."""
    remote = open_remote(str(mine.parents[2]))
    entry = listing(remote)[mine.name[-12:]]
    with (mine / "result/model/model.safetensors").open("r+b") as file:
        file.truncate(1 << 30)
    root = mine.parents[3] / "yours"
    assert fetch(entry, Store(root)).word == "copied"
    (weights,) = root.glob("stages/*/*/result/model/model.safetensors")
    assert weights.stat().st_size == 3000


def test_a_missing_document_leaves_the_stage_incomplete(mine: Path) -> None:
    for name in ("record.json", "stage.json", "result/manifest.json"):
        content = (mine / name).read_bytes()
        (mine / name).unlink()
        assert mine.name[-12:] not in complete(listing(open_remote(str(mine.parents[2]))))
        (mine / name).write_bytes(content)
    assert mine.name[-12:] in complete(listing(open_remote(str(mine.parents[2]))))


def test_a_link_in_the_place_of_a_stage_s_folder_is_not_written_through(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = tmp_path / "yours/stages" / mine.parent.name
    place.mkdir(parents=True)
    (place / mine.name).symlink_to(tmp_path / "elsewhere")
    from w2s_cli.store.places import StoreError

    with pytest.raises(StoreError, match="is a link"):
        fetch(listing(open_remote(str(mine.parents[2])))[mine.name[-12:]], Store(tmp_path / "yours"))
    assert not list((tmp_path / "elsewhere").iterdir())


SECRETS = [
    "s3://key:secret@bucket/x",
    "https://host/x?token=abc",
    "sftp://me:pw@host/x",
    "s3://bucket/x?X-Amz-Signature=1",
    "hf://a:b@c/d",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_url_with_a_secret_is_refused_and_the_secret_is_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="must not hold a password") as refused:
        check_url(url)
    assert "HF_TOKEN" in str(refused.value)
    for secret in ("secret", "token=abc", "pw", "Signature"):
        assert secret not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket/x", "sftp://me@host/x", "/a/path:with@signs?and", "file:///x", "hf://datasets/me/x", "x:y@z"]
)
def test_a_url_or_path_without_a_secret_passes(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/x", 'unknown protocol "s4"'),
        ("gs://bucket/x", 'gcsfs, which is not installed: pip install "gcsfs"'),
        ("simplecache::s3://bucket/x", "a chain of file systems"),
        ("filecache::s3://bucket/x", "a chain of file systems"),
        ("s3://", "names no folder"),
        *((slip, "is no URL: write SCHEME://BUCKET/FOLDER") for slip in ("s3:/b/x", "s3:b/x", "s3//b/x", "gs//b")),
        ("sftp://host/x", "paramiko"),
        ("hf://x", "names no repository"),
        ("hf://datasets/x", "names no repository"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_with_what_to_do(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "gcsfs")
    with pytest.raises(UserError, match=said):
        open_remote(url)


@pytest.mark.slow
def test_a_remote_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    remote = Remote(*vars(open_remote(f"{s3}/outputs")).values())
    remote.fs.connect(refresh=True)
    with pytest.raises(UnreachableError, match=r"^s3://shared/outputs cannot be used: "):
        listing(remote)
    with pytest.raises(UnreachableError, match="no such folder"):
        listing(open_remote("/nowhere/at/all"))
