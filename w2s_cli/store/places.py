"""Places: what w2s writes or removes in a store lies in the store's real path, and names are checked before they become paths.

* The base is the real path of the outputs folder, so an `outputs/` that is a link to another disk works. Below it no link and no `..` is
  followed: neither a manifest nor a link in place of a folder leads to a file elsewhere.
* A link is read: the bytes of a result are compared with their digests, wherever they lie. It is neither written through nor removed,
  because the stage behind it may belong to another store, and the removal of the link alone would free no space. The message leaves it to
  the user.
"""

import os
import re
import shlex
from pathlib import Path

OUTPUTS = "outputs"  # the folder of a command that names no other
RUNS = ("runs", "sweeps")  # folders of the store for commands with one job, and with several


class StoreError(Exception):
    """The outputs folder has a wrong state; the message says what to do."""


def lies_in(path: Path, root: Path) -> bool:
    """Whether `path` lies in the real path of the store at `root`, with neither a link nor `..` below that."""
    try:
        return os.path.realpath(path) == os.path.join(os.path.realpath(root), path.relative_to(root))
    except ValueError:  # not below the root, or with a null byte
        return False


def owned(path: Path, root: Path) -> Path:
    """`path`, which is going to be written or removed.

    Raises:
        StoreError: it does not lie in the real path of the store at `root`.
    """
    if not lies_in(path, root):
        raise StoreError(
            f"{path} is a link, lies behind one, or lies outside of the store {root}: w2s neither writes nor removes it. Replace the link "
            "by the folder or file itself (the whole outputs folder may be a link), or remove the link."
        )
    return path


def owned_stage(folder: Path) -> Path:
    """A stage's folder, which is going to be written or removed.

    Raises:
        StoreError: the folder does not lie in the real path of its store, or a file in it is a link.
    """
    owned(folder, folder.parents[2])
    with os.scandir(folder) as entries:
        for link in [entry for entry in entries if entry.is_symlink()]:
            owned(Path(link.path), folder.parents[2])
    return folder


def command_line(root: Path, *words: str) -> str:
    """`w2s WORD…` as it is typed in this folder for the store at `root`, which is named unless it is ./outputs."""
    place = [] if os.path.relpath(root) == OUTPUTS else [f"outputs={from_here(os.path.abspath(root))}"]
    return shlex.join(["w2s", *words, *place])


def from_here(path: str) -> str:
    """A path relative to the working directory, if it lies in it."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def closed_folders(root: Path) -> list[Path]:
    """The folders of runs that this user may not look into: a plan or a hold of another user may lie in them."""
    folders = [folder for kind in RUNS for inside in (kind, f"{kind}/*", f"{kind}/*/*") for folder in root.glob(inside)]
    return [folder for folder in folders if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)]


def check_name(name: str, what: str) -> str:
    """`name`, which becomes a part of a path; `what` is its bearer, for the message.

    Raises:
        StoreError: an empty name or part, one that begins with "." (as ".." does) or another sign, a control character, or a backslash.
    """
    if not re.fullmatch(r"\w[^/\\\x00-\x1f\x7f]*(/\w[^/\\\x00-\x1f\x7f]*)*", name):
        raise StoreError(
            f'{what} "{name}": this is no name. A name, and each part of it after a "/", begins with a letter or a digit; '
            "control characters and backslashes are not allowed."
        )
    return name
