"""The outcome of a command's stages, in the same form from every launcher."""

from collections.abc import MutableSequence
from dataclasses import dataclass, field

from w2s_cli.pipeline.graph import Graph


@dataclass
class Outcome:
    """The outcome of a command's stages."""

    ran: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)  # done before, or by another command meanwhile
    failed: dict[str, str] = field(default_factory=dict)  # key → message
    blocked: list[str] = field(default_factory=list)  # not run: they depend on a failed stage
    user_error: bool = False  # every failure is a UserError
    stopped: bool = False
    left: list[str] = field(default_factory=list)  # in the queue of a batch system, which goes on without this command

    def fail(self, key: str, message: str, graph: Graph, pending: MutableSequence[str], *, user: bool) -> None:
        """Record a failure, and move the stages that depend on it from `pending` to `blocked`."""
        self.user_error = user and (self.user_error or not self.failed)
        self.failed[key] = message
        without_input = {key}
        for other in graph.stages.values():
            if without_input.intersection(other.upstream()):
                without_input.add(other.key)
                if other.key in pending:
                    pending.remove(other.key)
                    self.blocked.append(other.key)
