"""Fuzz: configurations, label files, data files and JSON of a store, made by hypothesis: a result or one message, soon, never a traceback.

* FUZZ_CASES cases of the faults run over all four (default 5,600); the quick suite has 20 of each, the same in every run.
* A case that takes longer than LONGEST_S fails.
"""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command.test_fuzz import VALUES, at_most
from tests.command.test_hostile_store import store as store
from tests.conftest import environment
from tests.faults.counting import Tally
from tests.inside import run_inside
from tests.json_shapes import WRONG, json_files, places
from tests.stage_files import context, write_rows
from w2s_cli.config.declared import declared_fields
from w2s_cli.config.words import group_names, options
from w2s_cli.errors import UserError
from w2s_cli.stages.import_labels import run
from w2s_cli.store.files import digest
from w2s_cli.store.places import StoreError

Run = Callable[..., subprocess.CompletedProcess[str]]
LONGEST_S = 60
CASES = int(os.environ.get("FUZZ_CASES", "5600"))
SHARES = {
    "configurations": 0.1,
    "label files": 0.4,
    "data files": 0.4,
    "store": 0.1,
}  # configurations take half a second each
amounts = pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.faults)])

text = st.text(max_size=20) | st.sampled_from(["a", "0", "1", "é", "\x1b[31m", "\u2028", "=cmd", "nan", "", " "])
scalar = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | text
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=8
)


def fuzzed(what: str, whole: bool, case: Callable[[Any], None], drawn: st.SearchStrategy[Any]) -> None:
    """Call `case` with values of the strategy, as many as this run has of `what`; counts them."""
    tally = Tally("fuzz", what if whole else f"{what}, a part")
    most = max(1, int(CASES * SHARES[what])) if whole else 20
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

    @settings(
        max_examples=most,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=checks,
        report_multiple_bugs=False,
    )
    @given(drawn)
    def each(one: Any) -> None:
        tally.add()
        with at_most(LONGEST_S):
            case(one)

    try:
        each()
    except TimeoutError as error:
        tally.stuck.append(str(error))
    except AssertionError as error:
        tally.wrong.append(str(error))
    tally.close()


def answered(done: subprocess.CompletedProcess[str], what: object) -> None:
    """A result, or one message."""
    said = done.stdout + done.stderr
    assert done.returncode in (0, 2), f"{what!r}: {done.returncode}: {done.stderr[-1500:]}"
    assert "Traceback" not in said, f"{what!r}: {said[-1500:]}"
    assert "bug in w2s" not in said, f"{what!r}: {said[-1500:]}"
    assert "\x1b" not in said, f"{what!r}: {said[-500:]}"


def overrides() -> st.SearchStrategy[list[str]]:
    """Words of a command line: fields with values of any kind, and names of groups."""
    groups = sorted(group_names(None))
    of_group = st.sampled_from(groups).flatmap(
        lambda group: st.sampled_from([f"{group}={one}" for one in options(group, None)])
    )
    written = st.sampled_from(VALUES) | value.map(lambda one: json.dumps(one, ensure_ascii=False)) | text
    of_field = st.builds(lambda name, one: f"{name}={one}", st.sampled_from(sorted(declared_fields())), written)
    return st.lists(of_group | of_field, min_size=1, max_size=5)


@pytest.mark.slow
@amounts
def test_random_configurations(tmp_path: Path, whole: bool) -> None:
    def case(words: list[str]) -> None:
        answered(run_inside(["plan", *words], tmp_path, environment()), words)

    fuzzed("configurations", whole, case, overrides())


def table_file(columns: list[str]) -> st.SearchStrategy[tuple[str, bytes]]:
    """(ending, bytes) of a file of rows: of the columns, with values of any kind, with other columns, damaged, or no table at all."""
    ids, labels = (
        st.sampled_from(["a", "row-0", "row-1", "row-2", "row-3", "", "é"]) | scalar,
        st.sampled_from([0, 1, "0", "1", 0.5, [0.5, 0.5]]) | value,
    )
    row = st.fixed_dictionaries(
        {}, optional={name: (ids if name == "id" else labels if "label" in name else value) for name in columns}
    )
    rows = st.lists(row | st.dictionaries(text, value, max_size=3) | value, max_size=8)

    def written(rows: list[Any], ending: str, cut: int | None) -> tuple[str, bytes]:
        if "csv" in ending or "tsv" in ending:
            sign = "," if "csv" in ending else "\t"
            lines = [
                sign.join(columns),
                *(sign.join(str(r.get(c, "")) for c in columns) for r in rows if isinstance(r, dict)),
            ]
            content = "\n".join(lines)
        else:
            content = json.dumps(rows) if ".jsonl" not in ending else "\n".join(map(json.dumps, rows))
        packed = content.encode("utf-8", "surrogatepass")
        packed = gzip.compress(packed) if ending.endswith(".gz") else packed
        return ending, packed if cut is None else packed[: cut % (len(packed) + 1)]

    endings = st.sampled_from([".jsonl", ".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".parquet"])
    cuts = st.none() | st.none() | st.integers(0, 500)
    return st.builds(written, rows, endings, cuts) | st.tuples(endings, st.binary(max_size=200))


@contextlib.contextmanager
def told_or_taken(file: tuple[str, bytes]) -> Iterator[None]:
    """A file of a user is taken, or refused with a message; any other error is a fault."""
    try:
        yield
    except (UserError, StoreError):
        pass
    except Exception as error:
        raise AssertionError(f"{file!r}: {type(error).__name__}: {error}") from error


@amounts
def test_random_data_files(tmp_path: Path, whole: bool) -> None:
    from tests.data_sets import local, make

    def case(file: tuple[str, bytes]) -> None:
        path, made = tmp_path / f"data{file[0]}", tmp_path / "made"
        path.write_bytes(file[1])
        try:
            with told_or_taken(file):
                make(made, local(path, id="id"), "weak_train")
        finally:
            path.unlink()
            shutil.rmtree(made, ignore_errors=True)

    fuzzed("data files", whole, case, table_file(["id", "text", "label"]))


@amounts
def test_random_label_files(tmp_path: Path, whole: bool) -> None:
    rows = write_rows(tmp_path / "rows", np.array([0, 1, 1, 0]))
    (rows / "manifest.json").write_text(json.dumps({"metrics": {"classes": ["0", "1"]}}))

    def case(file: tuple[str, bytes]) -> None:
        path = tmp_path / f"labels{file[0]}"
        path.write_bytes(file[1])
        try:
            with told_or_taken(file):
                run({"sha256": digest(path)}, {"rows": rows}, context(tmp_path, labels_path=str(path)))
        finally:
            path.unlink()

    fuzzed("label files", whole, case, table_file(["id", "label", "p", "soft_label"]))


@amounts
def test_random_json_in_a_store(ran: list[str], store: Path, tmp_path: Path, whole: bool) -> None:
    files = json_files(store)
    contents = {path: path.read_text() for path in files}
    evaluate = next(store.glob("stages/evaluate/*-*")).name
    commands = [
        ["ls"],
        ["status"],
        ["table"],
        ["gc"],
        ["why", evaluate],
        ["show", evaluate],
        ["show", "--json", evaluate],
    ]

    def case(one: tuple[Path, int, Any, list[str]]) -> None:
        path, place, other, words = one
        content = json.loads(contents[path])
        within = list(places(content))
        if within:
            container, key = within[place % len(within)]
            container[key] = other
        written = other if isinstance(other, str) and other in WRONG else json.dumps(content if within else other)
        path.write_text(written, encoding="utf-8", errors="surrogatepass")
        answered(run_inside(words, tmp_path, environment()), (path.name, written[:300], words))
        path.write_text(contents[path])

    drawn = st.tuples(
        st.sampled_from(files), st.integers(0, 10**6), value | st.sampled_from(WRONG), st.sampled_from(commands)
    )
    fuzzed("store", whole, case, drawn)
