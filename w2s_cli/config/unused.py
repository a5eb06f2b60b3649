"""Words of the command line that the chosen method has no use for: refused, since the run would look like what it is not.

`w2s train select=topofilter` without method=selection would otherwise run the naive method and say nothing.
"""

from typing import Any

from w2s_cli.config.settings import settings
from w2s_cli.errors import UserError

# word → the methods that use it, and how it is known that a method does
USES = {
    "combine": "method=ensemble",
    "select": "method=selection or method=abstention",
    "ladder": "method=bootstrapping",
    "ensemble": "method=ensemble, weighted_ensemble, ensemw2s or co_supervised",
    "rounds": "method=strong_to_strong or co_supervised",
    "few_shot": "method=few_shot",
    "generative": "method=generative_finetuning",
    "hop": "method=bootstrapping",
}


def refuse_unused(words: list[str], configs: list[dict[str, Any]]) -> None:
    """UserError for a group or list that was given and that no configuration's method reads."""
    for word in words:
        name = word.lstrip("+").partition("=")[0].partition(".")[0]
        if name in USES and not any(_used(name, config) for config in configs):
            methods = ", ".join(dict.fromkeys(config["method"]["name"] for config in configs))
            raise UserError(f"{word} has no effect with method={methods}: it is for {USES[name]}.")


def _used(name: str, config: dict[str, Any]) -> bool:
    if name in ("few_shot", "generative"):
        return any(fields.get("kind") == name for fields in config["method"]["stages"].values())
    if name == "hop":
        name = "ladder"
    return settings(config)[name] is not None
