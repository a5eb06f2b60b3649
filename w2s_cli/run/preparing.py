"""A stage made ready for a worker: its folder with stage.json, which has the settings of the launcher beside the stage's identity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.pipeline.graph import Stage
from w2s_cli.pipeline.states import Planned
from w2s_cli.run.resources import in_parts
from w2s_cli.store.store import Store

# of the launcher, for the worker
SETTINGS = ("micro_tokens", "eval_tokens", "checkpoint_seconds", "log_every", "compile", "offload_optimizer")


def prepare(stage: Stage, store: Store, launcher: Mapping[str, Any], **chosen: Any) -> Path:
    """Write the stage's folder for a worker; `chosen` are settings of this stage alone: threads, cores, one of several devices."""
    device = launcher["device"] if isinstance(launcher["device"], str) else "auto"
    settings = {name: launcher[name] for name in SETTINGS} | {"fsdp": in_parts(stage, launcher)}
    execution = {"device": device, **settings, **chosen, **stage.execution}
    return store.prepare(stage.identity, name=stage.name, slug=stage.slug, execution=execution)


def redo_of(plan: Planned) -> str | None:
    """Run id of the finished result that a stage to run replaces; None without one."""
    return plan.state.record.get("run") if plan.state.digest else None
