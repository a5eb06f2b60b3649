"""GPUs of a machine: a stage each, whichever command it belongs to."""

import errno
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from w2s_cli.errors import UserError
from w2s_cli.run import devices
from w2s_cli.run.devices import Devices, chosen, identities

OTHER = """
import sys; from pathlib import Path; from w2s_cli.run.devices import Devices
held = Devices(sys.argv[2:], None, Path(sys.argv[1])); print(*(held.take("stage") or ()), flush=True); sys.stdin.read()
"""


def test_each_gpu_has_one_stage(tmp_path: Path) -> None:
    held = Devices(["cuda:0", "cuda:1"], None, tmp_path)
    assert [held.take(key) for key in "abc"] == [["cuda:0"], ["cuda:1"], None]
    held.give_back("a")
    assert held.take("c") == ["cuda:0"]


def test_more_jobs_than_gpus_share_them_evenly(tmp_path: Path) -> None:
    held = Devices(["cuda:0", "cuda:1"], 4, tmp_path)
    assert [held.take(key) for key in "abcde"] == [["cuda:0"], ["cuda:1"], ["cuda:0"], ["cuda:1"], None]


def test_a_stage_of_two_processes_has_two_gpus_or_none(tmp_path: Path) -> None:
    held = Devices(["cuda:0", "cuda:1", "cuda:2"], None, tmp_path)
    assert held.take("a", 2) == ["cuda:0", "cuda:1"]
    assert held.take("b", 2) is None
    assert held.take("c") == ["cuda:2"], "what could not be used is given back"


def test_a_gpu_of_another_command_is_left_alone_until_that_ends(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path), "cuda:0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "cuda:0"
    held = Devices(["cuda:0", "cuda:1"], None, tmp_path)
    assert [held.take(key) for key in "ab"] == [["cuda:1"], None]
    other.kill()
    other.wait()
    assert held.take("b") == ["cuda:0"]


def test_no_link_in_the_shared_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "w2s-cuda-0.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"w2s-cuda-0\.lock: Too many levels of symbolic links.* TMPDIR"):
        Devices(["cuda:0"], None, tmp_path).take("a")
    assert not (tmp_path / "elsewhere").exists()


def test_the_lock_of_another_user_is_opened_where_the_kernel_forbids_to_create_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux with fs.protected_regular, the default of Debian and Ubuntu, in /tmp: O_CREAT without O_EXCL is refused there."""
    really = os.open

    def protected(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT and not flags & os.O_EXCL and Path(path).exists():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really(path, flags, *mode)

    first = Devices(["cuda:0"], None, tmp_path)
    assert first.take("a") == ["cuda:0"]
    assert (tmp_path / "w2s-cuda-0.lock").stat().st_mode & 0o777 == 0o666, "every user may lock it"
    monkeypatch.setattr(os, "open", protected)
    other = Devices(["cuda:0"], None, tmp_path)
    assert other.take("b") is None
    first.give_back("a")
    assert other.take("b") == ["cuda:0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_two_users_never_have_a_gpu_at_once() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o1777)
        held = Devices(["cuda:0"], None, Path(folder))
        assert held.take("a") == ["cuda:0"]
        asked = OTHER.replace("\nheld", "\nimport os; os.setuid(65534)\nheld")  # Python itself may be root's
        command = [sys.executable, "-c", asked, folder, "cuda:0"]

        def other() -> str:
            return subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout.strip()

        assert other() == ""
        held.give_back("a")
        assert other() == "cuda:0"


def test_a_lock_that_may_not_be_opened_is_told_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    held = Devices(["cuda:0"], None, tmp_path)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UserError, match=r"Permission denied\. It is the lock of a GPU, which all users"):
        held.take("a")


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("cpu", []),
        ("mps", ["mps"]),
        ("cuda:1", ["cuda:1"]),
        (["cuda:2", "cuda:0", "cuda:2"], ["cuda:2", "cuda:0"]),
        ("auto", ["cuda:0", "cuda:1", "cuda:2"]),
    ],
)
def test_the_devices_of_a_setting(device: str | list[str], names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_visible", lambda: ["0", "1", "2"])
    assert chosen(device) == names


@pytest.mark.parametrize(
    ("allowed", "visible"),
    [(None, ["0", "1", "2"]), ("2,0", ["2", "0"]), ("", []), ("1,-1,2", ["1"]), ("GPU-3f,MIG-7", ["GPU-3f", "MIG-7"])],
)
def test_cuda_visible_devices_is_heeded(
    allowed: str | None, visible: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl"):
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "DEVICE_FILES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices._visible() == visible


def test_a_gpu_is_the_same_whatever_its_number_in_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '0, GPU-a\\n1, GPU-b\\n'\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(devices, "_visible", lambda: ["1", "GPU-a"])
    assert identities(["cuda:0", "cuda:1"]) == {"cuda:0": "GPU-b", "cuda:1": "GPU-a"}


KIND = '''
"""waiting: a stage with a model that does nothing for a while, and says on which device."""

import time

from w2s_cli.pipeline.contract import Spec, Traits

VERSION = 1
TRAITS = Traits()


def plan(job, *, number: int) -> Spec:
    return Spec({"number": number}, about={"model": "none"}, slug="waiting")


def run(params, inputs, ctx):
    began = time.time()
    time.sleep(1.0)
    return {"device": ctx.execution["device"], "began": began, "ended": time.time()}
'''


def test_a_run_on_two_gpus_has_a_stage_on_each(
    w2s_inside: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "own/stages").mkdir(parents=True)
    (tmp_path / "own/method").mkdir()
    (tmp_path / "own/stages/waiting.py").write_text(KIND, encoding="utf-8")
    stages = "".join(f"  w{number}: {{kind: waiting, number: {number}}}\n" for number in range(4))
    (tmp_path / "own/method/wait.yaml").write_text(f"name: wait\nstages:\n{stages}", encoding="utf-8")
    w2s_inside("train", "--config-dir", "own", "method=wait", "launcher.device=[cuda:0,cuda:1]")
    manifests = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/stages/*/*/result/manifest.json")]
    spans = [manifest["metrics"] for manifest in manifests]
    assert sorted(span["device"] for span in spans) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    beside = [
        (one["device"], other["device"])
        for one, other in itertools.combinations(spans, 2)
        if one["began"] < other["ended"] and other["began"] < one["ended"]
    ]
    assert beside, "the GPUs are used side by side"
    assert all(one != other for one, other in beside), "two stages shared a GPU"
