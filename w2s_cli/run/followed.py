"""A stage that runs on another machine, or whose output stays there, as the files of its folder tell of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from w2s_cli.store.claims import is_claimed
from w2s_cli.store.files import read_json
from w2s_cli.store.position import read_progress
from w2s_cli.store.shapes import fits, read_record


class _Failed(TypedDict):
    """failed.json."""

    message: str
    user: bool


@dataclass
class Followed:
    """What has been told of a stage."""

    folder: Path
    started: bool = False
    _position: dict[str, Any] | None = None

    def events(self) -> list[dict[str, Any]]:
        """Its start, once, and its position if that is new; none while no process has claimed it."""
        if not is_claimed(self.folder):
            return []
        events = [] if self.started else [{"event": "started"}]
        self.started = True
        position = read_progress(self.folder)
        if position and position != self._position:
            self._position = position
            events.append(position)
        return events

    def outcome(self, redo: str | None) -> dict[str, Any] | None:
        """The event of its end, done or failed; None without one. `redo` is the run id of a finished result to replace."""
        record, failed = read_record(self.folder), read_json(self.folder / "failed.json")
        if record and record.get("run") != redo:
            return {"event": "done"} | ({"seconds": record["wall_s"]} if "wall_s" in record else {})
        if fits(failed, _Failed):
            return {"event": "failed", "message": failed["message"], "user": failed["user"]}
        return None
