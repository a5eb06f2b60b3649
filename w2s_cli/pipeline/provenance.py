"""The origin of a result: code, versions, machine. It is recorded beside the result and never part of the identity.

* Best effort: outside a git checkout the commit is null.
* The source fingerprint of a stage kind covers the files of this package that its module imports, directly or not, without docstrings and
  comments. A fingerprint other than the recorded one means that the stage's code was edited without a new version: `drift`.
"""

import ast
import functools
import hashlib
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from w2s_cli import __version__
from w2s_cli.paths import PACKAGE
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.keys import ast_hash
from w2s_cli.store.shapes import fits

LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "tokenizers", "safetensors", "pyarrow", "numpy", "peft")


def provenance() -> dict[str, Any]:
    """Versions, host, processor and commit of this process."""
    return {
        "w2s": __version__,
        "python": platform.python_version(),
        "libraries": {name: library_version(name) for name in LIBRARIES},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": processor(),
        "git": git_state(),
        "command": os.environ.get("W2S_COMMAND", shlex.join(sys.argv)),
    }


@functools.cache
def processor() -> str:
    """The name of the processor's model, for example "AMD EPYC 9B14"; of the architecture where no system file has it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = ""
    return name or platform.processor() or platform.machine()


def device() -> dict[str, str]:
    """{"device": …}, the device of this process's models: a GPU's name, mps or cpu; {} if torch was not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return {"device": torch.cuda.get_device_name()}
    in_use = torch.backends.mps.is_available() and torch.mps.current_allocated_memory() > 0
    return {"device": "mps" if in_use else "cpu"}


def library_version(name: str) -> str | None:
    """The version of an installed library, without its import; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@functools.cache
def git_state() -> dict[str, Any] | None:
    """Commit of the package's checkout, and the digest of its uncommitted changes."""

    def git(*words: str) -> str:
        process = subprocess.run(
            ["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, timeout=10, check=True
        )
        return process.stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()) != PACKAGE.parent:
            return None
        patch = git("diff", "HEAD", "--", "w2s_cli", "configs")
        return {
            "commit": git("rev-parse", "HEAD").strip(),
            "dirty": hashlib.sha256(patch.encode()).hexdigest()[:12] if patch else None,
        }
    except (OSError, subprocess.SubprocessError):
        return None


def fingerprints(kinds: Mapping[str, Path], cache: Path) -> dict[str, str]:
    """Kind → fingerprint of its code; `kinds` maps to files, and only changed files are parsed again."""
    written = read_json(cache)
    cached: dict[str, list[Any]] = written if fits(written, dict[str, tuple[str, str, list[str]]]) else {}
    old = dict(cached)
    digests = {kind: _fingerprint(path, cached) for kind, path in kinds.items()}
    if cached != old and os.access(cache.parent, os.W_OK):
        write_json(cache, cached)
    return digests


def _fingerprint(kind: Path, cached: dict[str, list[Any]]) -> str:
    hashes: dict[str, str] = {}
    waiting = [kind]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
        if name in hashes or not path.is_file():
            continue
        stat = path.stat()
        stamp = f"{path}|{stat.st_size}|{stat.st_mtime_ns}"
        if name not in cached or cached[name][0] != stamp:
            cached[name] = [stamp, ast_hash(path), _imports(path)]
        hashes[name] = cached[name][1]
        waiting.extend(PACKAGE / imported for imported in cached[name][2])
    return hashlib.sha256("".join(f"{n}={hashes[n]}" for n in sorted(hashes)).encode()).hexdigest()[:12]


def _imports(path: Path) -> list[str]:
    """Files of this package that a file imports, relative to the package."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = [m.split(".")[1:] for m in modules if m.split(".")[0] == PACKAGE.name and "." in m]
    candidates = [c for parts in ours for c in ("/".join(parts) + ".py", "/".join(parts) + "/__init__.py")]
    return sorted(c for c in candidates if (PACKAGE / c).is_file())
