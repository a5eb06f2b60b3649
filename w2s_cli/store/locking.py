"""The kind of locks of a store, chosen before a command runs anything in it."""

from pathlib import Path

from w2s_cli.store import locks
from w2s_cli.store.files import write_bytes
from w2s_cli.store.holds import holds
from w2s_cli.store.places import StoreError, owned


def choose(root: Path, *, leases: bool) -> None:
    """Let the store at `root` have leases, or see that its locks work; a store with leases keeps them.

    Raises:
        StoreError: neither; the folder cannot be written; or a running command of the store has locks of the other kind.
    """
    if locks.has_leases(root):
        return
    if leases:
        if others := holds(root):
            raise StoreError(f"launcher.claims=lease: {others[0]} runs in {root} with file locks: wait for its end.")
        write_bytes(owned(root / locks.LEASES, root), b"the locks of this store are leases (launcher.claims=lease)\n")
        return
    try:
        fault = locks.fault_of(root)
    except OSError as error:
        raise StoreError(
            f"{root} cannot be written: {error.strerror}. Choose another folder with outputs=DIR; "
            "w2s plan, ls, show and table read this one."
        ) from error
    if fault:
        raise StoreError(
            f"file locks do not work in {root}: {fault}. Two commands could make one stage twice. "
            "Choose a folder on another disk with outputs=DIR, or use leases with launcher.claims=lease."
        )
