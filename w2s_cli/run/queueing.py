"""The queue of a store compared with its batch system: stages whose jobs are over leave it, and people read the states of the others."""

from contextlib import suppress

from w2s_cli.errors import UserError
from w2s_cli.run import launchers
from w2s_cli.store.queued import leave_queue, queued
from w2s_cli.store.store import Store


def job_states(store: Store) -> dict[str, str]:
    """Stage → 'slurm job 12: PENDING (Resources)', of the stages in the queue; those whose jobs are over leave it."""
    jobs = queued(store.root)
    words: dict[str, str] = {}
    for name in {job["launcher"] for job in jobs.values()}:
        of_system = {key: job["job"] for key, job in jobs.items() if job["launcher"] == name}
        states = _states(name, list(of_system.values()), store)
        for key, job in of_system.items():
            if states is None:
                words[key] = f"{name} job {job}: {name} does not answer here"
            elif job in states:
                words[key] = f"{name} job {job}: {states[job]}"
            else:
                with suppress(OSError):  # another user's store
                    leave_queue(store.root, key)
    return words


def _states(name: str, jobs: list[str], store: Store) -> dict[str, str] | None:
    """The jobs that the system still has; None if it does not answer, or is not of this w2s."""
    try:
        launcher = launchers.find(name)
    except UserError:
        return None
    states: dict[str, str] | None = launcher.queue({}, store.root).states(jobs) if launchers.is_batch(name) else None
    return states
