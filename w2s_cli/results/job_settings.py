"""The settings of a configuration in a few words, for results, tables and messages."""

from typing import Any

SFT = "sft"  # what trainings on texts learn by, unless a stage names another objective


def label_of(choice: dict[str, Any]) -> str:
    """The name of a loss or rule in tables: its label, since several YAML files can set arguments of one function."""
    return str(choice["label"] or choice["name"])


def loss_of(config: dict[str, Any]) -> str:
    """What the student learns by: the loss of a classifier; in a method of texts its objective."""
    if not _of_texts(config):
        return label_of(config["loss"])
    own = [fields["objective"] for fields in config["method"]["stages"].values() if "objective" in fields]
    if own and config["objective"]["name"] is not None:
        return label_of(config["objective"])
    return str(own[-1]["name"]) if own else SFT


def mode_of(config: dict[str, Any]) -> str:
    """What learns: all weights, adapters or a head."""
    return str(config["tune" if _of_texts(config) else "train"]["mode"])


def _of_texts(config: dict[str, Any]) -> bool:
    """Whether the method's models learn, or write, texts."""
    return any("texts" in fields for fields in config["method"]["stages"].values())


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a job beside its models, data, method and loss; None for a setting that the method does not use."""
    stages = config["method"]["stages"].values()
    rules = [fields["rule"] for fields in stages if "rule" in fields]  # rules that the method uses
    loops = {fields.get("foreach") for fields in stages}
    members = config["ensemble"]
    ensemble = members if isinstance(members, int) else [model["name"] for model in members]
    return {
        "combine": label_of(config["combine"]) if config["combine"] in rules else None,
        "select": label_of(config["select"]) if config["select"] in rules else None,
        "ladder": [model["name"] for model in config["ladder"]] if "ladder" in loops else None,
        "ensemble": ensemble if "ensemble" in loops else None,
        "rounds": config["rounds"] if "rounds" in loops else None,
        "control": config["control"]["name"] if config["control"]["name"] != "none" else None,
        "stopping": config["stopping"]["name"] if config["stopping"]["by"] else None,
        "head": "token" if config["train"]["head"]["tokens"] else None,
        "labels": config["train"]["labels"],
    }
