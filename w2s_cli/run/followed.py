"""A stage that runs on another machine, or whose output stays there, as the files of its folder tell of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_cli.store.claims import is_claimed
from w2s_cli.store.position import read_progress


@dataclass
class Followed:
    """What has been told of a stage."""

    folder: Path
    _started: bool = False
    _position: dict[str, Any] | None = None

    def events(self) -> list[dict[str, Any]]:
        """Its start, once, and its position if that is new; none while no process has claimed it."""
        if not is_claimed(self.folder):
            return []
        events = [] if self._started else [{"event": "started"}]
        self._started = True
        position = read_progress(self.folder)
        if position and position != self._position:
            self._position = position
            events.append(position)
        return events
