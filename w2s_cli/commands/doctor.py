"""`w2s doctor`: checks of this machine and of the artifacts.

* Every check prints one line: ok, note or PROBLEM, with advice. The exit code is 2 if a check has a problem.
* --verify also hashes every artifact in full, with its weights; else only versions, devices, disk, locks, hub and cache are checked.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from w2s_cli import __version__
from w2s_cli.commands.options import file_size, parse, parser
from w2s_cli.hub import hub_cache
from w2s_cli.paths import PACKAGE, configs_folder, locate
from w2s_cli.pipeline.provenance import LIBRARIES
from w2s_cli.store.locks import fault_of, has_leases
from w2s_cli.store.places import command_line
from w2s_cli.store.store import Store, folder_state

Line = tuple[str, str]  # (ok | note | PROBLEM, text)


def run(argv: list[str]) -> int:
    """Print the checks."""
    arg_parser = parser(
        "doctor", "Check versions, devices, disk, locks, hub and cached models; --verify hashes every artifact."
    )
    arg_parser.add_argument("--verify", action="store_true", help="hash every artifact of every finished stage in full")
    options = parse(arg_parser, argv)
    root = locate(options.outputs)
    problems = 0
    checks = [versions(), devices(), outputs(root), hub()]
    if options.verify:
        checks.append(artifacts(Store(root)))
    for check in checks:
        for mark, text in check:
            print(f"{mark:<8}{text}", flush=True)
            problems += mark == "PROBLEM"
    if problems:
        print(f"{problems} problem{'s' if problems > 1 else ''}", file=sys.stderr)
    return 2 if problems else 0


def versions() -> Iterator[Line]:
    """Python and libraries."""
    from importlib.metadata import PackageNotFoundError, version

    yield "ok", f"w2s {__version__} in {PACKAGE}, configs in {configs_folder()}"
    mark = "ok" if sys.version_info >= (3, 11) else "PROBLEM"
    yield mark, f"Python {platform.python_version()} on {platform.platform()}"
    installed = []
    for name in (*LIBRARIES, "hydra-core", "omegaconf", "rich", "matplotlib"):
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield "PROBLEM", f"{name} is not installed: pip install {name}"
    yield "ok", ", ".join(installed)


def devices() -> Iterator[Line]:
    """CPU threads and accelerators."""
    import torch

    yield "ok", f"{len(os.sched_getaffinity(0))} CPU threads, torch uses {torch.get_num_threads()}"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            yield (
                "ok",
                f"cuda:{index} {torch.cuda.get_device_name(index)}, {file_size(free)} of {file_size(total)} free",
            )
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        yield (
            "PROBLEM",
            "nvidia-smi is installed but torch has no GPU: driver and torch build may not match; runs would use the CPU",
        )
    elif torch.backends.mps.is_available():
        yield "ok", "mps (Apple GPU)"
    else:
        yield "note", "no GPU: runs use the CPU"


def outputs(root: Path) -> Iterator[Line]:
    """Disk, write access and file locks of the outputs folder."""
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    yield ("ok" if free > 2**30 else "PROBLEM"), f"{file_size(free)} free for {root}"
    if not os.access(existing, os.W_OK):
        yield "PROBLEM", f"{existing} is not writable (owner: {existing.owner()}): use outputs=DIR"
        return
    try:
        fault = fault_of(existing)
    except OSError as error:
        yield "PROBLEM", f"{existing} cannot be written: {error.strerror}: use outputs=DIR"
        return
    if has_leases(root):
        yield "ok", f"{root} has leases in place of file locks"
    elif fault is None:
        yield "ok", f"file locks work in {existing}"
    else:
        yield (
            "PROBLEM",
            f"file locks do not work in {existing}: {fault}. Two commands could make one stage twice, so runs are refused: "
            "use a folder on another disk, or launcher.claims=lease",
        )


def hub() -> Iterator[Line]:
    """Whether the hub can be reached, and the cached models."""
    cache = hub_cache()
    models = (
        sorted(path.name[len("models--") :].replace("--", "/") for path in cache.glob("models--*/"))
        if cache.is_dir()
        else []
    )
    yield "ok", f"hub cache {cache}: {', '.join(models) if models else 'no models yet'}"
    if os.environ.get("HF_HUB_OFFLINE"):
        yield "note", "HF_HUB_OFFLINE is set: only cached models and data can be used"
        return
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info("gpt2", timeout=5)
        yield "ok", "the hub can be reached"
    except Exception as error:  # a missing network causes many kinds of exceptions
        yield (
            "note",
            f"the hub cannot be reached ({type(error).__name__}): only cached, local and bundled models and data can be used",
        )


def artifacts(store: Store) -> Iterator[Line]:
    """Every finished stage, hashed in full."""
    sound = 0
    for key, folder in sorted(store.folders().items()):
        state = folder_state(folder, full=True)
        if state.word == "damaged":
            yield (
                "PROBLEM",
                f"{folder.relative_to(store.root)}: {state.detail}; its command makes it again, "
                f"{command_line(store.root, 'rm', key)} removes it",
            )
        sound += state.word == "done"
    yield "ok", f"{sound} finished stage{'s' * (sound != 1)} verified"
