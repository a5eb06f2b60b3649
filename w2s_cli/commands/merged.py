"""A model that a training left as adapters, written out whole for export: its base with the adapters merged.

* The base is that of the training, to the last byte: a hub model at its commit, which is fetched if the cache lacks it, or a local folder
  whose digest is compared. Adapters on another base would be a model that nobody has tested.
* A local base is where this machine's last plan had it, or at --base. A pulled stage has no such place: that of another machine says
  nothing here, and its settings, such as code to trust, are not followed.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store.context import Context
from w2s_cli.store.shapes import read_job
from w2s_cli.store.store import Store


def write_whole(store: Store, stage: Path, adapters: Path, into: Path, base: str | None) -> None:
    """Write the whole model of the `adapters` of the folder `stage` into the folder `into`.

    Args:
        adapters: checked files of the stage's model.
        base: folder of a local base; None: where the stage has it.

    Raises:
        UserError: no base, or another one; it cannot be fetched or opened.
    """
    from w2s_cli.training.models.adapters import base_of
    from w2s_cli.training.models.opening import hub_folder, quiet
    from w2s_cli.training.models.saving import merged_model

    quiet()
    execution: dict[str, Any] = dict((read_job(stage) or {}).get("execution", {}))
    identity = base_of(adapters)["model"]
    if "id" in identity:
        with TemporaryDirectory() as name:
            folder = Path(name)
            hub_folder(identity["id"], identity["revision"], Context(folder, folder, folder, execution))
    else:
        execution["base_path"] = _local_base(store, stage, execution, identity, base)
    merged_model(adapters, into, execution)


def _local_base(
    store: Store, stage: Path, execution: dict[str, Any], identity: dict[str, Any], base: str | None
) -> str:
    """The folder of a local base, whose digest is the one that the adapters name."""
    path = base or execution.get("base_path") or execution.get("model_path")
    if path is None or not locate(path).is_dir():
        where = f"not at {path}" if path else "unknown here"
        raise UserError(
            f"{stage.name} holds adapters of a local model, whose folder is {where}: give it with --base DIR."
        )
    model = {"name": "base", "path": path, "trust_remote_code": bool(execution.get("trust_remote_code"))}
    own, folder = Resolver(store, hub="never").model(model)
    if own != identity:
        raise UserError(
            f"{path} is not the model that the adapters of {stage.name} were trained on (sha256 of its files "
            f"{str(identity.get('sha256'))[:12]}…, here {own['sha256'][:12]}…): give that model with --base DIR."
        )
    return str(folder)
