"""What programs share: reading a job, stopwatches, and writing the answer."""

import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def cpu_seconds() -> float:
    """CPU seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Stopwatch:
    """Adds up wall and CPU seconds under names."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        wall, cpu = time.monotonic(), cpu_seconds()
        try:
            yield
        finally:
            self.wall[name] = self.wall.get(name, 0.0) + time.monotonic() - wall
            self.cpu[name] = self.cpu.get(name, 0.0) + cpu_seconds() - cpu

    def around(self, module: Any, function: str, name: str) -> None:
        """Time every call of `module.function`."""
        plain = getattr(module, function)

        def timed(*args: Any, **named: Any) -> Any:
            with self.timed(name):
                return plain(*args, **named)

        setattr(module, function, timed)

    def figures(self) -> dict[str, float]:
        """NAME_s and NAME_cpu_s."""
        return {f"{n}_s": v for n, v in self.wall.items()} | {f"{n}_cpu_s": v for n, v in self.cpu.items()}


def main(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the job named on the command line, do it, write answer.json."""
    path = Path(sys.argv[1])
    answer = work(json.loads(path.read_text(encoding="utf-8")))
    (path.parent / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def main_as_worker(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The same in a process that uses memory as a worker of w2s does."""
    from w2s_cli.run.process import keep_memory  # the other programs do not pay for this import

    keep_memory()
    main(work)
    gc.freeze()
