"""The processes that work on one stage together (`launcher.processes`), as a stage's code sees them.

* A process has a rank, 0 to count − 1. Rank 0 has the claim, writes the files and sends the events; the others only compute.
* This file imports no torch: planning and workers of one process read it too. `training/exchange.py` has what they tell each other.
"""

from dataclasses import dataclass

# The texts of errors that mean that another process has ended: gloo's, NCCL's, and those of torch's store.
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "gloo/transport",
    "remote process exited",
    "NCCL communicator was aborted",
)


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of its stage."""

    rank: int = 0
    count: int = 1


ALONE = Ranks()


def means_lost_process(error: BaseException) -> bool:
    """Whether an error of a library says that another process of the stage has ended."""
    if type(error).__name__ in ("DistNetworkError", "DistBackendError", "DistStoreError"):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _LOST)
