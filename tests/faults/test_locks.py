"""A file system whose locks do nothing: runs are refused there, unless leases take the place of locks."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import command, environment, once
from tests.faults.test_resume import artifacts

Run = Callable[..., subprocess.CompletedProcess[str]]
SHIM = "int flock(int descriptor, int operation) { return 0; }\n"  # as some network mounts: every lock succeeds
COMPILER = shutil.which("cc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler for a library without locks")


@pytest.fixture
def no_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes whose file locks do nothing."""

    def build(folder: Path) -> None:
        (folder / "shim.c").write_text(SHIM, encoding="utf-8")
        words = [str(COMPILER), "-shared", "-fPIC", "-o", str(folder / "shim.so"), str(folder / "shim.c")]
        subprocess.run(words, check=True)

    return {"LD_PRELOAD": str(once(tmp_path_factory, "shim", build) / "shim.so")}


def test_a_run_is_refused_where_locks_do_nothing(w2s: Run, tiny: list[str], no_locks: dict[str, str]) -> None:
    done = w2s("label", *tiny, code=2, **no_locks)
    assert "file locks do not work" in done.stderr
    assert "launcher.claims=lease" in done.stderr


def test_doctor_tells_it(w2s: Run, no_locks: dict[str, str]) -> None:
    done = w2s("doctor", code=2, **no_locks)
    assert "PROBLEM" in done.stdout
    assert "file locks do not work" in done.stdout


@pytest.mark.slow
def test_with_leases_three_commands_at_once_make_each_stage_once(
    tiny: list[str], no_locks: dict[str, str], finished: Path, tmp_path: Path, w2s: Run
) -> None:
    words = command(["label", *tiny, "launcher.claims=lease", "launcher.threads=1"])
    commands = [
        subprocess.Popen(words, cwd=tmp_path, env=environment(**no_locks), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [one.communicate(timeout=240)[0] for one in commands]
    assert [one.returncode for one in commands] == [0, 0, 0], outputs
    made, of_machine = artifacts(tmp_path / "outputs"), artifacts(finished)
    assert len(made) == 4
    assert all(of_machine[key] == manifest for key, manifest in made.items())
    assert not list(tmp_path.glob("outputs/stages/*/*/old"))
    assert sum(line.endswith("started") for output in outputs for line in output.splitlines()) == 4
    assert not [path for path in tmp_path.rglob("*.lease") if "hold" not in path.name]
    assert "has leases in place of file locks" in w2s("doctor", code=None, **no_locks).stdout
    records = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/stages/*/*/record.json")]
    assert len({record["run"] for record in records}) == 4
