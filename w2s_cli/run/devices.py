"""The GPUs of this machine for the stages of a command: each stage with a model gets one, and no other command uses it meanwhile.

* A command holds the kernel's lock on a file of the GPU while one of its stages is on it; the lock ends with the process, in any way. The
  files lie in the machine's temporary folder, so commands with other outputs folders, and other users' commands, see them.
* A GPU is named by its UUID where nvidia-smi tells it, else by its entry in CUDA_VISIBLE_DEVICES or its number: two commands that number
  the GPUs in another way still mean the same one.
* A GPU has one stage at a time, unless `launcher.jobs` is above the number of GPUs: then they share the jobs evenly.
* torch is not asked: its import takes seconds, and a process that has asked the GPU holds memory on it.
"""

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from w2s_cli.errors import UserError
from w2s_cli.run.resources import most_processes

ASK_S = 20.0
DEVICE_FILES = Path("/dev")


class Devices:
    """The devices of a command, and the stages on each."""

    def __init__(self, names: list[str], jobs: int | None, folder: Path | None = None) -> None:
        """`names` as torch has them; `folder` is that of the locks, by default the machine's temporary folder."""
        self.names = names
        self.most = 1 if jobs is None else max(1, -(-jobs // len(names)))  # stages on one device
        self._folder = folder or Path(tempfile.gettempdir())
        self._on: dict[str, list[str]] = {name: [] for name in names}  # device → its stages
        self._locks: dict[str, IO[str]] = {}
        self._ids = identities(names)

    def take(self, key: str, count: int = 1) -> list[str] | None:
        """So many devices for the stage, those with the fewest stages; None if too many are taken, here or by another command."""
        for name in sorted(self.names, key=lambda name: len(self._on[name])):
            if len(self._on[name]) < self.most and (name in self._locks or self._lock(name)):
                self._on[name].append(key)
            taken = [name for name in self.names if key in self._on[name]]
            if len(taken) == count:
                return taken
        self.give_back(key)
        return None

    def give_back(self, key: str) -> None:
        """The stage is over; a device without stages is free for other commands."""
        for name, keys in self._on.items():
            if key in keys:
                keys.remove(key)
                if not keys:
                    self._locks.pop(name).close()

    def _lock(self, name: str) -> bool:
        path = self._folder / f"w2s-{re.sub(r'[^A-Za-z0-9]+', '-', self._ids[name])}.lock"
        file = os.fdopen(_opened(path), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._locks[name] = file
        return True


def _opened(path: Path) -> int:
    """The file of a lock, made if there is none, for every user.

    O_CREAT with another user's file is refused in a folder such as /tmp (Linux's fs.protected_regular), so it is opened without first.

    Raises:
        UserError: a file that this user may not open.
    """
    how = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC  # no link is followed, because anyone can write into the folder
    try:
        while True:
            with suppress(FileNotFoundError):
                return os.open(path, how)
            with suppress(FileExistsError):  # another command has just made it
                descriptor = os.open(path, how | os.O_CREAT | os.O_EXCL, 0o666)
                os.fchmod(descriptor, 0o666)  # whatever the umask
                return descriptor
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}. It is the lock of a GPU, which all users of this machine share: remove the file while no command "
            "runs, or set TMPDIR to a folder that all of them can write."
        ) from error


def chosen(device: str | list[str]) -> list[str]:
    """The devices of `launcher.device`, as torch names them; [] if stages run on the CPU."""
    if isinstance(device, list):
        return list(dict.fromkeys(device))
    if device != "auto":
        return [] if device == "cpu" else [device]
    if sys.platform == "darwin":
        return ["mps"]
    return [f"cuda:{number}" for number in range(len(_visible()))]


def used(settings: Mapping[str, Any]) -> list[str]:
    """The devices of a launcher's settings; stages of several processes spread over "cuda", all GPUs."""
    spread = settings["device"] == "cuda" and most_processes(settings)[1] > 1
    return chosen("auto" if spread else settings["device"])


def _visible() -> list[str]:
    """What CUDA may use here, in torch's order: entries of CUDA_VISIBLE_DEVICES, or the numbers of the machine's GPUs."""
    files = [path.name.removeprefix("nvidia") for path in DEVICE_FILES.glob("nvidia[0-9]*")]
    present = sorted(files, key=int)
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None or not present:
        return present
    entries = [entry.strip() for entry in allowed.split(",")]
    usable = [entry not in ("", "-1", "NoDevFiles") for entry in entries]
    return entries[: usable.index(False)] if False in usable else entries  # CUDA stops at the first that it cannot use


def asked(*fields: str) -> list[list[str]]:
    """The fields of every GPU as nvidia-smi tells them, sizes in MiB; [] without a driver."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    lines: list[str] = []
    with suppress(OSError, subprocess.SubprocessError):
        lines = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True).stdout.splitlines()
    return [[field.strip() for field in line.split(",")] for line in lines]


def identities(names: list[str]) -> dict[str, str]:
    """Device → its identity on this machine, in whatever order a command numbers the GPUs."""
    visible = _visible()
    told: dict[str, str] = {}
    if any(name.startswith("cuda") for name in names) and visible:
        told = {fields[0]: fields[1] for fields in asked("index", "uuid") if len(fields) == 2}
    ids = {}
    for name in names:
        number = int(name.partition(":")[2] or 0)
        entry = visible[number] if name.startswith("cuda") and number < len(visible) else name
        ids[name] = told.get(entry, entry)
    return ids
