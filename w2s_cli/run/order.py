"""The stages that a command still has to run, in the order of its graph, and those among them whose inputs are made.

A sweep has ten thousand stages, and the scheduler looks ten times a second: what changes when one stage ends is its readers, no more.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence


def readers(upstream: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Stage → the stages that read it; `upstream`: stage → its inputs."""
    of_keys: dict[str, list[str]] = {key: [] for key in upstream}
    for key, inputs in upstream.items():
        for one in dict.fromkeys(inputs):
            of_keys[one].append(key)
    return of_keys


def below(key: str, readers_of: Mapping[str, Sequence[str]]) -> list[str]:
    """All stages that depend on a stage."""
    reached: dict[str, None] = {}
    waiting = [key]
    while waiting:
        for reader in readers_of[waiting.pop()]:
            if reader not in reached:
                reached[reader] = None
                waiting.append(reader)
    return list(reached)


class Pending:
    """Stages to run; iteration and length are over all of them, `ready` has those that can start."""

    def __init__(self, upstream: Mapping[str, Sequence[str]], keys: Iterable[str]) -> None:
        """`upstream`: stage → its inputs, of the whole graph in its order; `keys`: the stages to run."""
        self._upstream = upstream
        self._place = {key: place for place, key in enumerate(upstream)}
        self._readers = readers(upstream)
        self._open: dict[str, set[str]] = {}  # stage to run → inputs that are not made
        self._unmade: set[str] = set()  # to run, or running
        self._ready: list[tuple[int, str]] = []
        keys = list(keys)
        self._unmade.update(keys)
        for key in keys:
            self._wait(key)

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: object) -> bool:
        return key in self._open

    def ready(self) -> list[str]:
        """The stages whose inputs are made, in the order of the graph."""
        return [key for _, key in self._ready]

    def start(self, key: str) -> None:
        """The stage runs."""
        self.remove(key)
        self._unmade.add(key)

    def again(self, key: str) -> None:
        """The stage has to run, for the first time or once more; its readers wait for it."""
        self._unmade.add(key)
        self._wait(key)
        for reader in self._readers[key]:
            if reader in self._open:
                self._leave_ready(reader)
                self._open[reader].add(key)

    def made(self, key: str) -> None:
        """The stage is made."""
        self._unmade.discard(key)
        for reader in self._readers[key]:
            if key in self._open.get(reader, ()):
                self._open[reader].discard(key)
                if not self._open[reader]:
                    insort(self._ready, (self._place[reader], reader))

    def remove(self, key: str) -> None:
        """The stage is not to run any more: it has started, or cannot start."""
        self._leave_ready(key)
        del self._open[key]

    def _wait(self, key: str) -> None:
        self._leave_ready(key)
        self._open[key] = {one for one in self._upstream[key] if one in self._unmade}
        if not self._open[key]:
            insort(self._ready, (self._place[key], key))

    def _leave_ready(self, key: str) -> None:
        if key in self._open and not self._open[key]:
            self._ready.remove((self._place[key], key))
