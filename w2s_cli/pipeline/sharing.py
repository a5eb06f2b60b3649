"""What a published experiment would take, planned without asking anybody: neither hub nor data need be there."""

from collections.abc import Mapping
from typing import Any

from w2s_cli.paths import BUNDLED, locate
from w2s_cli.pipeline.stand_in import StandIn
from w2s_cli.store.store import Store


class Standing(StandIn):
    """A resolver that asks nobody; `assumed` says what it had to take as it is."""

    def __init__(self, store: Store, folders: Any = ()) -> None:
        super().__init__(store, folders)
        self.asking = False

    def data(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        path = data.get("path")
        if not path or path.startswith(BUNDLED) or locate(path).exists():
            return super().data(data)
        self.assumed.add(f"data {path} (not there)")
        return {"sha256": f"unknown:{data['name']}"}, str(locate(path))
