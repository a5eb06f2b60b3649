"""A real sweep of seconds that several tests read: two strong models of the bundled ones, one seed, sixty rows a pool."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from tests.conftest import environment
from tests.inside import run_inside

LIMITS = [f"data.limits.{pool}=60" for pool in ("weak_train", "strong_train", "test")]


@functools.cache
def small_sweep() -> Path:
    """The outputs folder; made once a process and never changed: copy it to break it."""
    folder = Path(tempfile.mkdtemp(prefix="w2s-sweep-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    words = ["train", "-m", "strong=wordnet-m,wordnet-l", *LIMITS, "bootstrap=200", f"outputs={folder}/outputs"]
    done = run_inside(words, folder, environment())
    assert done.returncode == 0, done.stderr
    return folder / "outputs"


def sweep_folder() -> Path:
    """The folder of the sweep itself."""
    (found,) = (small_sweep() / "sweeps").glob("*/*")
    return found
