"""Full, read-only and shared disks, and limits of a process: one message, exit code 2, nothing lost, and the same command goes on later."""

import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import ROOT, environment
from tests.faults.counting import Tally, left_after_gc, unclaimable
from tests.faults.counting import finished as finished_stages
from tests.faults.test_resume import EVERY_STEP, artifacts

Run = Callable[..., subprocess.CompletedProcess[str]]
SIZE = 64 << 20  # bytes of the small disk: a command wants 50 MiB of it free
FULL = {  # what is being written when the disk is full → point of store/faults.py
    "log": "rows.start",
    "cache of tokens": "finetune.start",
    "metrics and log": "finetune.step:3",
    "checkpoint": "checkpoint.begin",
    "checkpoint's state": "checkpoint.tensors-written",
    "labels": "label.step",
    "manifest": "publish.synced",
    "result": "publish.begin:4",
    "record": "publish.renamed:2",
    "comparison": "evaluate.step",
    "plan of the run": "run.plan",
    "results of the run": "run.results",
}
GROUP, USERS = 64000, (64001, 64002)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs of SIZE bytes; skips where this user may not mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "written",
    [name if name in ("checkpoint", "labels") else pytest.param(name, marks=pytest.mark.faults) for name in FULL],
)
def test_a_full_disk_is_told_in_one_message_and_the_same_command_goes_on(
    tiny: list[str], finished: Path, tmp_path: Path, written: str
) -> None:
    tally = Tally("full disks", f"while writing: {written}")
    with small_disk(tmp_path / "disk") as disk:
        words, filler = ["train", *tiny, *EVERY_STEP, f"outputs={disk}/outputs"], disk / "filler"
        fault = {"W2S_FAULT": f"{FULL[written]}=fill:{filler}", "W2S_FAULT_LOG": str(tmp_path / "hits")}
        done = forked.run(words, tmp_path, environment(**fault))
        assert (tmp_path / "hits").exists(), done.stdout
        assert shutil.disk_usage(disk).free < 1 << 20
        tally.add()
        said = done.stdout.lower()
        if done.returncode != 2 or "traceback" in said or "no space left" not in said:
            tally.wrong.append(f"exit code {done.returncode}: {done.stdout[-1500:]}")
        before = finished_stages(disk / "outputs")
        again = forked.run(words, tmp_path, environment())  # the disk is still full: it is told at once
        tally.add()
        if again.returncode != 2 or not re.search(r"MiB free on this disk|no space", again.stdout, re.IGNORECASE):
            tally.wrong.append(f"still full: exit code {again.returncode}: {again.stdout[-1500:]}")
        filler.unlink()
        done = forked.run(words, tmp_path, environment())
        tally.wrong += [] if done.returncode == 0 else [f"not continued: {done.stdout[-1500:]}"]
        now, expected = artifacts(disk / "outputs"), artifacts(finished)
        tally.wrong += [f"other result: {key}" for key in expected if now.get(key) != expected[key]]
        after = finished_stages(disk / "outputs")
        tally.lost += [name for name in before if after.get(name) != before[name]]
        tally.stuck += unclaimable(disk / "outputs") + left_after_gc(disk / "outputs")
    tally.close()


def test_a_store_for_reading_only_is_shown_and_planned_and_runs_are_refused(
    tiny: list[str], finished: Path, tmp_path: Path, w2s_inside: Run
) -> None:
    tally = Tally("read-only stores", "a disk mounted for reading only")
    with small_disk(tmp_path / "disk") as disk:
        shutil.copytree(finished, disk / "outputs", symlinks=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        stage = next((disk / "outputs").glob("stages/label/*-*")).name
        shows = [["ls"], ["status"], ["show", stage], ["why", stage], ["table"], ["gc"], ["plan", *tiny]]
        runs = [["train", *tiny], ["train", *tiny, "seed=5"], ["rm", stage], ["evaluate", *tiny]]
        for words in shows + runs:
            done = w2s_inside(*words, f"outputs={disk}/outputs", code=None)
            tally.add()
            expected = 0 if words in shows else 2
            if done.returncode != expected or (expected and len(done.stderr.strip().splitlines()) != 1):
                tally.wrong.append(f"{words[:1]}: {done.returncode}: {done.stderr[-600:]}")
            elif expected and not re.search("Read-only file system|cannot be written", done.stderr):
                tally.wrong.append(f"{words[:1]}: {done.stderr[-600:]}")
        tally.lost += [] if artifacts(disk / "outputs") == artifacts(finished) else ["stages"]
    tally.close()


def as_user(user: int, folder: Path) -> None:
    """Make this process one of a user of the group, whose files the group may write.

    Python's own folder may lie in root's home: from here on it is read from its bind mount beside `folder`.
    """
    place = f"{folder}-python"
    sys.path[:] = [path.replace(sys.base_prefix, place) for path in sys.path]
    for module in list(sys.modules.values()):
        if isinstance(inside := getattr(module, "__path__", None), list):
            inside[:] = [path.replace(sys.base_prefix, place) for path in inside]
    os.umask(0o002)
    os.setgroups([GROUP])
    os.setgid(user)
    os.setuid(user)
    os.environ["HOME"] = str(folder)


@pytest.fixture
def shared(finished: Path, tiny_models: dict[str, Path], tiny: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """A folder that all users may enter, with an outputs folder of the group, the models and the data; the words of a run in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become two users")
    if any(not place.stat().st_mode & stat.S_IXOTH for place in (ROOT, *ROOT.parents)):
        pytest.skip(f"other users may not read {ROOT}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for role, path in tiny_models.items():
            shutil.copytree(path, folder / role)
        data = next(word.partition("=")[2] for word in tiny if word.startswith("data.path="))
        shutil.copy(data, folder / "animals.jsonl")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        # beside the folder, which is removed with all that is in it
        outputs, python = folder / "outputs", Path(f"{folder}-python")
        python.mkdir()
        if subprocess.run(["mount", "--bind", sys.base_prefix, str(python)]).returncode:
            pytest.skip("nothing can be mounted here")
        outputs.mkdir()
        os.chown(outputs, -1, GROUP)
        outputs.chmod(0o2775)  # setgid: what is made in it belongs to the group
        try:
            places = {
                "weak.path": folder / "weak",
                "strong.path": folder / "strong",
                "data.path": folder / "animals.jsonl",
            }
            yield folder, [f"{n}={places[n]}" if (n := word.partition("=")[0]) in places else word for word in tiny]
        finally:
            subprocess.run(["umount", "-l", str(python)], check=True)
            python.rmdir()


def test_two_users_of_a_group_plan_show_and_train_in_one_store(shared: tuple[Path, list[str]]) -> None:
    folder, words = shared
    tally, (first, second) = Tally("shared stores", "two users of one group"), USERS

    def w2s(user: int, *arguments: str, code: int = 0) -> str:
        done = forked.run(arguments, folder, environment(), partial(as_user, user, folder))
        tally.add()
        if done.returncode != code or "Traceback" in done.stdout:
            tally.wrong.append(f"user {user}: {arguments[0]}: {done.returncode}: {done.stdout[-1500:]}")
        return done.stdout

    said = w2s(first, "label", *words)
    made = finished_stages(folder / "outputs")
    assert made, said
    stage = next((folder / "outputs").glob("stages/label/*-*")).name
    for arguments in (["plan", *words], ["ls"], ["status"], ["show", stage], ["why", stage], ["gc"]):
        w2s(second, *arguments)
    trained = w2s(second, "train", *words)
    assert "PGR" in trained, trained
    owners = {path.stat().st_uid for path in (folder / "outputs").glob("stages/*/*/record.json")}
    tally.wrong += [] if owners == set(USERS) else [f"stages of {owners}"]
    tally.lost += [name for name in made if finished_stages(folder / "outputs").get(name) != made[name]]
    w2s(first, "train", *words, "--force", "pgr")  # a stage that the other user made
    w2s(first, "rm", "--weights", next((folder / "outputs").glob("stages/finetune/ceiling-*")).name)
    w2s(second, "table")
    for path in (folder / "outputs").rglob("*"):
        if not path.is_symlink() and (path.stat().st_gid != GROUP or not path.stat().st_mode & stat.S_IWGRP):
            tally.wrong.append(f"not the group's: {path.relative_to(folder)} {oct(path.stat().st_mode)}")
    tally.stuck += unclaimable(folder / "outputs")
    tally.close()


def limit(kind: int, most: int) -> None:
    resource.setrlimit(kind, (most, most))


@pytest.mark.slow
@pytest.mark.parametrize(
    "most", [pytest.param(16, marks=pytest.mark.faults), 24, pytest.param(64, marks=pytest.mark.faults)]
)
def test_few_descriptors_are_a_message_or_enough(tiny: list[str], finished: Path, tmp_path: Path, most: int) -> None:
    tally = Tally("limits", f"{most} descriptors")
    done = forked.run(["train", *tiny], tmp_path, environment(), partial(limit, resource.RLIMIT_NOFILE, most))
    tally.add()
    if done.returncode not in (0, 2) or "Traceback" in done.stdout or "bug in w2s" in done.stdout:
        tally.wrong.append(f"exit code {done.returncode}: {done.stdout[-1500:]}")
    done = forked.run(["train", *tiny], tmp_path, environment())
    tally.wrong += (
        [] if artifacts(tmp_path / "outputs") == artifacts(finished) else [f"not continued: {done.stdout[-1500:]}"]
    )
    tally.stuck += unclaimable(tmp_path / "outputs")
    tally.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kib", [1, pytest.param(20, marks=pytest.mark.faults), pytest.param(200, marks=pytest.mark.faults)]
)
def test_a_limit_of_the_size_of_files_is_told(tiny: list[str], finished: Path, tmp_path: Path, kib: int) -> None:
    tally = Tally("limits", f"files of {kib} KiB at most")
    done = forked.run(["train", *tiny], tmp_path, environment(), partial(limit, resource.RLIMIT_FSIZE, kib << 10))
    tally.add()
    if done.returncode != (2 if kib < 200 else 0) or "Traceback" in done.stdout or "bug in w2s" in done.stdout:
        tally.wrong.append(f"exit code {done.returncode}: {done.stdout[-1500:]}")
    done = forked.run(["train", *tiny], tmp_path, environment())
    tally.wrong += (
        [] if artifacts(tmp_path / "outputs") == artifacts(finished) else [f"not continued: {done.stdout[-1500:]}"]
    )
    tally.stuck += unclaimable(tmp_path / "outputs") + left_after_gc(tmp_path / "outputs")
    tally.close()


def little_memory(mib: int) -> None:
    """Let this process and its workers have so much more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + (mib << 20))


@pytest.mark.faults
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="address space is Linux's")
@pytest.mark.parametrize("mib", [1, 8, 64, 256])
def test_little_memory_is_a_message_or_enough(tiny: list[str], finished: Path, tmp_path: Path, mib: int) -> None:
    tally = Tally("limits", f"{mib} MiB more memory")
    done = forked.run(["train", *tiny], tmp_path, environment(), partial(little_memory, mib))
    tally.add()
    if done.returncode not in (0, 1, 2) or "Traceback" in done.stdout or "bug in w2s" in done.stdout:
        tally.wrong.append(f"exit code {done.returncode}: {done.stdout[-1500:]}")
    done = forked.run(["train", *tiny], tmp_path, environment())
    same = artifacts(tmp_path / "outputs") == artifacts(finished)
    tally.wrong += [] if same else [f"not continued: {done.stdout[-1500:]}"]
    tally.stuck += unclaimable(tmp_path / "outputs")
    tally.close()
