"""The processes of one worker (`launcher.processes`): rank 0 takes the jobs, and the others share the stages that can be shared.

* They find each other by the variables that torch's launcher sets, and so accelerate's. A worker without them is one process.
* Rank 0 has the claim and names each shared stage to the others through torch's key-value store.
* The first process that fails tells it, whatever its rank, and ends. The others then lose it in the middle of an exchange: they say
  nothing, and wait for the launcher, which ends them. So one failure has one message, and the death of one process ends all.
* The next stage has new processes after a failure. A stage of one process never loads torch here.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from w2s_cli.errors import UserError
from w2s_cli.store.ranks import Ranks

LAUNCHED = ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
FOREVER = timedelta(days=365)  # a shared stage may come after days of others, and a checkpoint may take minutes
POLL_S = 0.2  # between two looks for a note, at most
ENDED_S = 60.0  # until the launcher ends a process that has lost another …
ASKED_S = 1.0  # … which may have been its signal to stop
END = "end"


class Group:
    """The other processes of this worker; its state is the number of the present shared stage."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        import torch
        from torch.distributed import distributed_c10d, init_process_group

        self.ranks = Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
        self.local = int(environment.get("LOCAL_RANK", 0))
        self.number = 0
        self.running = False  # the others are in the present stage
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        init_process_group(backend, timeout=FOREVER)
        # torch's own store, which the launcher holds
        self.store: Any = distributed_c10d.PrefixStore("w2s", distributed_c10d._get_default_store())

        self.store.set(f"process {self.ranks.rank}", f"{socket.gethostname()} {os.getpid()}")

    def call(self, folder: Path, results: Mapping[str, Path | list[Path]]) -> None:
        """Name a shared stage to the other processes; `results` are the result folders of its inputs."""
        plain = {
            edge: [str(one) for one in given] if isinstance(given, list) else str(given)
            for edge, given in results.items()
        }
        self._post({"folder": str(folder), "results": plain})
        self.running = True

    def end(self) -> None:
        """Leave the other processes; rank 0 lets them end."""
        from torch.distributed import destroy_process_group

        if not self.ranks.rank:
            self._post({"folder": END, "results": {}})
        destroy_process_group()

    def _post(self, job: dict[str, Any]) -> None:
        self.number += 1
        self.store.set(f"job {self.number}", json.dumps(job))

    def calls(self) -> Iterator[tuple[Path, dict[str, Path | list[Path]]]]:
        """The shared stages, as rank 0 names them: the folder of each, and the result folders of its inputs."""
        while True:
            self.number += 1
            name = f"job {self.number}"
            self._wait([name], [0])
            job = json.loads(self.store.get(name))
            if job["folder"] == END:
                return
            self.running = True
            yield (
                Path(job["folder"]),
                {
                    edge: list(map(Path, given)) if isinstance(given, list) else Path(given)
                    for edge, given in job["results"].items()
                },
            )

    def served(self) -> None:
        """Note that this process has done its part; in rank 0, wait until all others have done theirs."""
        if self.ranks.rank:
            self.store.set(f"served {self.number} {self.ranks.rank}", "")
        else:
            self._wait(self._others(), range(1, self.ranks.count))
        self.running = False

    def failed(self) -> bool:
        """Whether the others are still in the present stage, which fails in this process; then this process must end."""
        if self.running and not self.ranks.rank and self.store.check(self._others()):
            self.running = False
        return self.running

    def _others(self) -> list[str]:
        """The names of the notes that the others have done their part."""
        return [f"served {self.number} {rank}" for rank in range(1, self.ranks.count)]

    def _wait(self, names: list[str], ranks: Iterable[int]) -> None:
        """Wait for notes of these processes, as long as all of them live.

        It looks again and again: in torch's own wait no signal is handled.
        """
        began = time.monotonic()
        while not self.store.check(names):
            if not all(self._lives(rank) for rank in ranks):
                wait_for_the_launcher(asked=True)
            time.sleep(min(POLL_S, 0.01 + (time.monotonic() - began) / 20))

    def _lives(self, rank: int) -> bool:
        """Whether a process lives, as far as can be seen from here; one of another machine does."""
        host, _, pid = self.store.get(f"process {rank}").decode().rpartition(" ")
        if host != socket.gethostname():
            return True
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        return True

    def first_to_tell(self) -> bool:
        """Whether this process is the first that tells how the present stage failed or stopped."""
        return int(self.store.add(f"told {self.number}", 1)) == 1

    def execution(self, execution: Mapping[str, Any]) -> dict[str, Any]:
        """The execution options of this process: on a machine with GPUs each has one of its own.

        Raises:
            UserError: fewer GPUs than processes.
        """
        import torch

        device = str(execution.get("device") or "auto")
        if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
            return {**execution, "device": "cpu"}
        if torch.cuda.device_count() <= self.local:
            raise UserError(
                f"launcher.processes={self.ranks.count} need a GPU each, and this machine has {torch.cuda.device_count()}: use "
                "as many processes as GPUs, or launcher.device=cpu"
            )
        mine = execution.get("devices", [])[self.local : self.local + 1] or [f"cuda:{self.local}"]
        torch.cuda.set_device(mine[0])
        return {**execution, "device": mine[0]}


def group() -> Group | None:
    """The processes that a launcher started this one with; None: it is the only one."""
    if LAUNCHED[0] not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    return Group(os.environ)


def wait_for_the_launcher(*, asked: bool) -> NoReturn:
    """Wait until the launcher ends this process, which has lost another; `asked`: the launcher may have asked already."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(ASKED_S if asked else ENDED_S)
    os._exit(1)
