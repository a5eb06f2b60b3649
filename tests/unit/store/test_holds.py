"""Holds: what a running command planned stays until the command ends, and no longer."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from w2s_cli.store.claims import this_process
from w2s_cli.store.holds import PREFIX, hold, holder, holds
from w2s_cli.store.places import StoreError

KEY, OTHER = "0123456789ab", "ba9876543210"
HOLD = """
import sys
from pathlib import Path
from w2s_cli.store.holds import hold
root, run, *keys = sys.argv[1:]
with hold(Path(run), Path(root), keys):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(root: Path, run: Path, *keys: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds stages for a run, until the block ends."""
    words = [sys.executable, "-c", HOLD, str(root), str(run), *keys]
    with subprocess.Popen(words, env=environment(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        yield other
        other.stdin.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "2026-01-01" / "100000-weak-strong-data-12345678"
    folder.mkdir(parents=True)
    return folder


def test_a_stage_is_held_until_the_process_ends(tmp_path: Path, run: Path) -> None:
    with held_by_another(tmp_path, run, KEY) as other:
        held = holder(tmp_path, KEY)
        assert str(held).startswith(f"pid {other.pid} on ")
        assert str(held).endswith("(run 2026-01-01/100000-weak-strong-data-12345678)")
        assert holder(tmp_path, OTHER) is None
    assert holds(tmp_path) == []
    assert not list(run.iterdir())


def test_a_process_of_another_container_with_the_same_name_and_id_is_another_process(tmp_path: Path, run: Path) -> None:
    with held_by_another(tmp_path, run, KEY):
        (path,) = run.glob(f"{PREFIX}*")
        path.write_text(json.dumps({**json.loads(path.read_text()), **this_process()}))
        assert holder(tmp_path, KEY) is not None


def test_a_hold_that_cannot_be_read_holds_every_stage(tmp_path: Path, run: Path) -> None:
    (run / f"{PREFIX}x.json").mkdir()
    assert [hold.keys for hold in holds(tmp_path)] == [None]


def test_the_hold_of_a_killed_process_counts_for_nothing_and_is_removed_by_the_next(tmp_path: Path, run: Path) -> None:
    with held_by_another(tmp_path, run, KEY) as other:
        other.kill()
        other.wait()
        (left,) = run.glob(f"{PREFIX}*")
        assert json.loads(left.read_text())["pid"] == other.pid
        assert holds(tmp_path) == []
    with hold(run, tmp_path, [KEY]):
        assert not left.exists()


def test_two_commands_of_one_run_hold_it_each(tmp_path: Path, run: Path) -> None:
    with held_by_another(tmp_path, run, KEY):
        with held_by_another(tmp_path, run, KEY):
            assert len(holds(tmp_path)) == 2
        assert holder(tmp_path, KEY) is not None


def test_a_process_is_not_stopped_by_its_own_hold(tmp_path: Path, run: Path) -> None:
    with hold(run, tmp_path, [KEY]):
        assert holder(tmp_path, KEY) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "h", "pid": 1}', '{"host": "h", "pid": 1, "keys": [1]}'])
def test_a_hold_that_cannot_be_read_holds_everything(tmp_path: Path, run: Path, content: str) -> None:
    with held_by_another(tmp_path, run, KEY):
        (file,) = run.glob(f"{PREFIX}*")
        file.write_text(content)
        assert holder(tmp_path, OTHER) is not None


def test_no_hold_is_written_through_a_link(tmp_path: Path, run: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere" / "lock")
    with pytest.raises(StoreError, match="is a link"), hold(run / "linked", tmp_path, [KEY]):
        pass
    with pytest.raises(StoreError, match="is a link"), hold(run, tmp_path, [KEY]):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())
