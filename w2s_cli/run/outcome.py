"""The outcome of a command's stages, in the same form from every launcher."""

from collections.abc import Iterable
from dataclasses import dataclass, field


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

    def fail(self, key: str, message: str, lost: Iterable[str], *, user: bool) -> None:
        """Record a failure; `lost` are the stages to run that depend on it."""
        self.user_error = user and (self.user_error or not self.failed)
        self.failed[key] = message
        self.blocked += lost
