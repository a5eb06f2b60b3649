"""Where rows come from: every file format and folder layout, the hub cache, and files that are no good."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tests.local_server import serving
from w2s_cli.data.hub import hub_files
from w2s_cli.data.read import read
from w2s_cli.data.sources import SplitFiles, fingerprint, local_files, split_names
from w2s_cli.errors import UserError

ROWS = [{"text": 'one, "two"\nthree', "label": 1}, {"text": "é 2020-01-01", "label": 0}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = 'text,label\n"one, ""two""\nthree",1\né 2020-01-01,0\n'.encode()
TWICE_SINK = pa.BufferOutputStream()
pq.write_table(pa.Table.from_arrays([["x"], ["y"]], names=["text", "text"]), TWICE_SINK)
TWICE = TWICE_SINK.getvalue().to_pybytes()
PRETTY = json.dumps(ROWS[0], indent=2).encode() + b"\n"
ONE_FILE: dict[str, str | None] = {"train": "train", "test": None}
BOTH: dict[str, str | None] = {"train": "train", "test": "test"}


def rows_of(found: SplitFiles) -> list[dict[str, Any]]:
    rows = read(found)
    taken = list(rows.take(range(rows.count)))
    assert [row["text"] for row in taken] == rows.column("text")
    return [{**row, "label": int(row["label"])} for row in taken]  # csv cells stay strings


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSONL),
        ("a.b.JSONL.GZ", gzip.compress(JSONL, mtime=0)),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.replace(b"\n", b"\r\n") + b"\n"),  # as Windows writes it
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json", JSONL),
        ("a.csv", CSV),
        ("a.csv.gz", gzip.compress(CSV, mtime=0)),
        ("a.tsv", CSV.replace(b",1", b"\t1").replace(b",0", b"\t0").replace(b"text,", b"text\t")),
    ],
)
def test_text_formats_give_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert rows_of(local_files(path, ONE_FILE)["train"]) == ROWS


def test_parquet_and_arrow_give_the_same_rows(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, str(tmp_path / "b.arrow"), compression="uncompressed")
    with pa.ipc.new_stream(str(tmp_path / "c.arrow"), table.schema) as stream:
        stream.write_table(table)
    for name in ("a.parquet", "b.arrow", "c.arrow"):
        assert rows_of(local_files(tmp_path / name, ONE_FILE)["train"]) == ROWS


def test_rows_of_several_text_files_say_which_file_they_stood_in(tmp_path: Path) -> None:
    for name in ("b.x.jsonl", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(gzip.compress(JSONL) if name.endswith(".gz") else JSONL)
    several: dict[str, str | None] = {"train": "*.jsonl*", "test": None}
    rows = read(local_files(tmp_path, several)["train"])
    assert rows.column("file") == ["a", "a", "b", "b"]
    assert "file" not in read(local_files(tmp_path, {"train": "a", "test": None})["train"]).columns


SHARD = {"text": ["a", "b"], "label": [0, 1], "n": [1, 2]}
TEXT, NUMBER = pa.string(), pa.int64()


def shards(folder: Path, second: pa.Table, suffix: str = "parquet") -> SplitFiles:
    """A split of two files, of which the second has its own schema."""
    first = pa.table(SHARD)
    for number, table in enumerate((first, second)):
        file = folder / f"train-{number:05}-of-00002.{suffix}"
        pq.write_table(table, file) if suffix == "parquet" else feather.write_feather(
            table, str(file), compression="uncompressed"
        )
    return local_files(folder, ONE_FILE)["train"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "types",
    [
        {"label": pa.int8()},
        {"label": pa.uint64(), "text": pa.large_string()},
        {"text": pa.dictionary(pa.int8(), pa.string())},
        {"text": pa.dictionary(pa.int32(), pa.large_string()), "label": pa.dictionary(pa.int8(), pa.int32())},
        {"text": pa.string_view()},
    ],
    ids=str,
)
def test_shards_whose_writers_chose_other_types_are_one_split(
    tmp_path: Path, types: dict[str, pa.DataType], suffix: str
) -> None:
    schema = {"text": TEXT, "label": NUMBER, "n": NUMBER} | types
    if suffix == "parquet" and pa.types.is_dictionary(schema["label"]):
        schema["label"] = pa.int16()  # parquet has dictionaries of texts only
    second = pa.table({name: pa.array(SHARD[name], type_) for name, type_ in schema.items()})
    rows = read(shards(tmp_path, second, suffix))
    each = pa.table(SHARD).to_pylist()
    assert list(rows.take(range(4))) == each + each
    assert rows.column("text") == SHARD["text"] * 2


def test_shards_may_differ_in_the_order_of_columns_and_lack_one_that_is_not_needed(tmp_path: Path) -> None:
    second = pa.table({"extra": pa.nulls(2), "label": [1, 0], "text": ["c", "d"]})
    rows = read(shards(tmp_path, second))
    assert rows.column("text") == ["a", "b", "c", "d"]
    assert rows.column("n") == [1, 2, None, None]
    assert rows.column("extra") == [None] * 4
    with pytest.raises(UserError, match=r'train-00001-of-00002.parquet has no column "n" \(data\.text\)'):
        rows.need("n", "data.text")


def test_nested_columns_of_shards_become_one_type(tmp_path: Path) -> None:
    word = pa.dictionary(pa.int8(), pa.string())
    narrow = pa.list_(pa.struct([("said", pa.string())]))
    wide = pa.list_(pa.struct([("n", pa.int8()), ("said", word)]))
    files = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    values = [[{"said": "x"}], [{"said": "y", "n": 1}]]
    for file, type_, value in zip(files, (narrow, wide), values, strict=True):
        feather.write_feather(pa.table({"turns": pa.array([value], type_)}), str(file), compression="uncompressed")
    assert read(SplitFiles("arrow", tuple(files))).column("turns") == [[{"said": "x", "n": None}], values[1]]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", ["0", "1"], "string, which is int64 in the files of this split before it"),
        ("label", [False, True], "bool, which is int64"),
        ("text", [b"a", b"b"], "binary, which is string"),
        ("n", pa.array([2**64 - 1, 0], pa.uint64()), "cannot be read as int64"),
    ],
)
def test_shards_whose_columns_have_no_common_type_are_refused_by_file_and_column(
    tmp_path: Path, column: str, values: Any, message: str
) -> None:
    with pytest.raises(UserError, match=rf'train-00001-of-00002\.parquet, column "{column}": {message}'):
        read(shards(tmp_path, pa.table({**SHARD, column: values})))


def test_a_damaged_shard_and_a_csv_shard_without_a_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00002.csv").write_bytes(CSV)
    (tmp_path / "train-00001-of-00002.csv").write_text("text,lable\nx,1\n")
    rows = read(local_files(tmp_path, ONE_FILE)["train"])
    with pytest.raises(UserError, match=r'train-00001-of-00002.csv has no column "label"'):
        rows.need("label", "data.label")
    (tmp_path / "train-00001-of-00002.csv").write_text("text,label\nx\n")
    with pytest.raises(UserError, match=r"train-00001-of-00002.csv, line 2: 1 cells"):
        read(local_files(tmp_path, ONE_FILE)["train"])
    (tmp_path / "train-00001-of-00002.csv").write_text('text,label\n"x,1\n')
    with pytest.raises(UserError, match=r"train-00001-of-00002.csv cannot be read as csv"):
        read(local_files(tmp_path, ONE_FILE)["train"])


def test_another_suffix_needs_the_format_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(JSONL)
    with pytest.raises(UserError, match=r"unknown suffix.*data\.format="):
        local_files(path, ONE_FILE)
    assert rows_of(local_files(path, ONE_FILE, "jsonl")["train"]) == ROWS


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["train.jsonl.gz", "test.jsonl.gz", "README.md"], "train", ["train.jsonl.gz"]),
        (["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"], "train",
         ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]),
        (["default/validation/0000.parquet", "default/train/0000.parquet"], "validation", ["default/validation/0000.parquet"]),
        (["train/data-00000-of-00001.arrow", "train/state.json", "train/dataset_info.json"], "train", ["train/data-00000-of-00001.arrow"]),
        (["harmless-base/train.jsonl.gz", "helpful-base/train.jsonl.gz", "red/x.jsonl.gz"], "h*/train.jsonl.gz",
         ["harmless-base/train.jsonl.gz", "helpful-base/train.jsonl.gz"]),
        (["harmless_test.csv", "harmless_train.csv"], "harmless_train.csv", ["harmless_train.csv"]),
    ],
)  # fmt: skip
def test_a_split_is_found_in_every_known_layout(names: list[str], split: str, expected: list[str]) -> None:
    assert split_names(names, split, where="here") == expected


def test_a_hub_configuration_chooses_its_folder() -> None:
    names = ["main/train-00000-of-00001.parquet", "additional/train-00000-of-00001.parquet"]
    assert split_names(names, "train", where="here", config="main") == names[:1]
    with pytest.raises(UserError, match=r"more than once: additional/.*main/"):
        split_names(names, "train", where="here")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["trian.jsonl", "test.jsonl"], r'no split "train" \(data\.splits\)\. Known: test\.jsonl, trian\.jsonl'),
        (
            [f"notes{n}.json" for n in range(9)],
            r"Known: notes0\.json, .* notes3\.json, … \(9 in all\)\. Expected: a file train\.jsonl, .*data\.path=FILE",
        ),
        (["train.csv", "train.jsonl"], "more than once"),
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "only 2 of the 3 files"),
        ([], 'no split "train"'),
    ],
)
def test_a_split_that_is_not_there_or_not_clear_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_names(names, "train", where="here")


def test_folders_of_the_datasets_library_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    train, test = datasets.Dataset.from_list(ROWS), datasets.Dataset.from_list(ROWS[:1])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "splits")
    found = local_files(tmp_path / "splits", BOTH)
    assert (rows_of(found["train"]), rows_of(found["test"])) == (ROWS, ROWS[:1])
    train.save_to_disk(tmp_path / "whole", num_shards=2)
    assert rows_of(local_files(tmp_path / "whole", ONE_FILE)["train"]) == ROWS
    with pytest.raises(UserError, match="has no splits"):
        local_files(tmp_path / "whole", BOTH)


def saved(folder: Path, count: int = 80) -> Any:
    """A DatasetDict of `count` training and test rows, saved to `folder` and loaded again."""
    datasets = pytest.importorskip("datasets")
    parts = {
        split: datasets.Dataset.from_list([{"text": f"{split} {n}", "label": n % 2} for n in range(count)])
        for split in ("train", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(folder)
    return datasets.load_from_disk(folder)


@pytest.mark.parametrize("change", ["map", "filter", "shuffle", "named"])
def test_caches_that_the_datasets_library_leaves_beside_saved_rows_are_never_read(tmp_path: Path, change: str) -> None:
    loaded = saved(tmp_path / "splits")
    before = fingerprint(tmp_path / "splits", BOTH)
    {
        "map": lambda: loaded.map(lambda row: {"text": row["text"] + "!"}),
        "filter": lambda: loaded.filter(lambda row: row["label"] == 0),
        "shuffle": lambda: loaded.shuffle(seed=0),
        "named": lambda: loaded.shuffle(seed=0, indices_cache_file_names={s: str(tmp_path / "splits" / s / "mine.arrow") for s in loaded}),
    }[change]()  # fmt: skip
    assert len(list((tmp_path / "splits").rglob("*.arrow"))) == 4
    assert fingerprint(tmp_path / "splits", BOTH) == before
    for folder, splits in (
        ("splits", BOTH),
        ("splits/train", ONE_FILE),
        ("splits", {"train": "train/*.arrow", "test": None}),
    ):
        rows = rows_of(local_files(tmp_path / folder, splits)["train"])
        assert [row["text"] for row in rows] == [f"train {n}" for n in range(80)]


def test_rows_that_were_shuffled_or_selected_before_saving_are_read_in_their_new_order(tmp_path: Path) -> None:
    train = saved(tmp_path / "splits")["train"]
    for name, changed in (("shuffled", train.shuffle(seed=1)), ("selected", train.select([7, 3, 5]))):
        changed.save_to_disk(tmp_path / name)
        assert rows_of(local_files(tmp_path / name, ONE_FILE)["train"]) == changed.to_list()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{", "does not name the files with the rows"),
        ('{"_data_files": [{}]}', "does not name the files with the rows"),
        ('{"_data_files": [{"filename": "../train/data.arrow"}]}', "not in the folder"),
        ('{"_data_files": [{"filename": "data-00001-of-00002.arrow"}]}', "not in the folder"),
        (
            '{"_data_files": [{"filename": "data.arrow"}], "_indices_data_files": [{"filename": "indices.arrow"}]}',
            "old version of the datasets library",
        ),
    ],
)
def test_a_saved_folder_without_a_usable_list_of_its_files_is_refused(tmp_path: Path, state: str, message: str) -> None:
    folder = tmp_path / "splits" / "train"
    folder.mkdir(parents=True)
    feather.write_feather(pa.Table.from_pylist(ROWS), str(folder / "data.arrow"), compression="uncompressed")
    (folder / "state.json").write_text(state)
    for path in (folder, folder.parent):
        with pytest.raises(UserError, match=message):
            local_files(path, ONE_FILE)


def test_caches_in_a_hub_repository_are_in_no_split() -> None:
    names = ["train/cache-0123456789abcdef.arrow", "train/data-00000-of-00001.arrow", "train/state.json"]
    assert split_names(names, "train", where="here") == names[1:2]


def test_the_fingerprint_is_of_the_bytes_that_are_read(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.jsonl").write_bytes(JSONL)
        (tmp_path / folder / "test.jsonl").write_bytes(JSONL + JSONL)
    (tmp_path / "there" / "README.md").write_text("notes")
    (tmp_path / "there" / "validation.jsonl").write_text("not asked for")
    first = fingerprint(tmp_path / "here", BOTH)
    (tmp_path / "there" / "train.jsonl").touch()
    assert fingerprint(tmp_path / "there", BOTH) == first
    assert fingerprint(tmp_path / "here", {"train": "test", "test": "train"}) != first
    (tmp_path / "there" / "test.jsonl").write_bytes(JSONL)
    assert fingerprint(tmp_path / "there", BOTH) != first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", JSONL + b'{"text": "x", "la', r"a\.jsonl, line 3: not JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1: a row must be an object"),
        ("a.json", b"[1, 2]", "row 1: a row must be an object"),
        (
            "a.jsonl",
            json.dumps(ROWS, indent=1).encode(),
            r"a\.jsonl is a list of rows over several lines.*data\.format=json",
        ),
        ("a.jsonl", json.dumps(ROWS).encode(), r"line 1: a row must be an object.*data\.format=json"),
        ("a.jsonl", PRETTY + PRETTY, r"a\.jsonl is pretty-printed: each of its rows takes several lines.*jq -c"),
        ("a.json", PRETTY + PRETTY, r"a\.json is pretty-printed"),
        ("a.jsonl", JSONL + PRETTY, "line 3: not JSON"),
        (
            "a.json",
            json.dumps({"version": 1, "rows": ROWS}, indent=1).encode(),
            "one JSON object over several lines, with the fields version, rows",
        ),
        (
            "a.jsonl.gz",
            gzip.compress(PRETTY, mtime=0),
            "one JSON object over several lines, with the fields text, label",
        ),
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"\x80\x04\x95 pickle", "cannot be read as jsonl"),
        ("a.csv", "text,label\ncafé,1\n".encode("latin1"), r"a\.csv.*not UTF-8 \(byte 0xe9\).*iconv -f latin1 -t utf8"),
        ("a.jsonl", '{"text": "é"}\n'.encode("latin1"), "not UTF-8.*iconv -f latin1 -t utf8"),
        ("a.parquet", b"not parquet at all", r"[^.]\. The file is damaged"),
        ("a.jsonl.gz", gzip.compress(JSONL * 500, mtime=0)[:-20], "cannot be read as jsonl.*cut short"),
        ("a.jsonl.gz", JSONL, "cannot be read as jsonl"),
        ("a.parquet", b"PAR1 this is none", "cannot be read as parquet"),
        ("a.arrow", JSONL, "cannot be read as arrow"),
        ("a.csv", b"text,label\nx\n", "line 2: 1 cells under a header of 2"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.csv", b'text,label\n"x,1\n', "cannot be read as csv"),
        ("a.csv", b"text,label, text\nx,1,y\n", r'a\.csv has 2 columns of the name "text"'),
        ("a.csv", b"\ntext,label\nx\n", "line 3: 1 cells under a header of 2"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.parquet", TWICE, r'a\.parquet has 2 columns of the name "text"'),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(local_files(path, ONE_FILE)["train"])


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        local_files(tmp_path / "nothing.jsonl", ONE_FILE)


COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = {"hub": "allenai/sciq", "config": None, "revision": COMMIT}


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "datasets--allenai--sciq" / "snapshots" / COMMIT


def test_offline_the_hub_cache_is_read_at_the_commit(hub_cache: Path) -> None:
    (hub_cache / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), hub_cache / "data" / "train-00000-of-00001.parquet")
    assert rows_of(hub_files(SOURCE, ONE_FILE)["train"]) == ROWS
    with pytest.raises(UserError, match=r'as far as it is cached \(HF_HUB_OFFLINE is set\), has no split "test"'):
        hub_files(SOURCE, BOTH)


def test_offline_and_not_cached_says_what_to_do(hub_cache: Path) -> None:
    with pytest.raises(
        UserError, match=r"allenai/sciq \(commit 0123456789ab\) is not in the hub cache.*data\.path=FOLDER"
    ):
        hub_files(SOURCE, BOTH)


def test_online_only_the_files_of_the_wanted_splits_are_downloaded_at_the_commit(tmp_path: Path) -> None:
    """Against a server that speaks the hub's protocol, in a process of its own: the client reads its settings when imported."""
    files = {"data/train.jsonl": JSONL, "data/test.jsonl": JSONL, "data/validation.jsonl": b"", "README.md": b""}
    with hub_server(files) as (address, asked):
        code = (
            "import json; from w2s_cli.data.hub import hub_files\n"
            f"found = hub_files({SOURCE!r}, {BOTH!r})\n"
            "print(json.dumps({role: [str(f) for f in split.files] for role, split in found.items()}))"
        )
        settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        ran = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True
        )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert [Path(file).read_bytes() for role in ("train", "test") for file in found[role]] == [JSONL, JSONL]
    assert all(COMMIT in path for path in asked if "sciq" in path)
    assert not any("validation" in path or "README" in path for path in asked)


@contextmanager
def hub_server(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A hub with one data set; (address, paths that were asked for)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            name = self.path.partition(f"/resolve/{COMMIT}/")[2]
            listing = {"id": SOURCE["hub"], "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            content = files[name] if name else json.dumps(listing).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address, asked
