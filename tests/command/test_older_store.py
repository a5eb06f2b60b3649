"""A store that an older w2s made is recognised: its stages are shown as what they are, never read, and can be removed."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from w2s_cli.store import keys

Run = Callable[..., CompletedProcess[str]]


def aged(outputs: Path) -> list[Path]:
    """Make every stage one of the format before: other keys, and records that say nothing of a format."""
    folders = []
    for path in sorted(outputs.glob("stages/*/*/stage.json")):
        job = json.loads(path.read_text()) | {"format": keys.FORMAT - 1}
        ident = {name: job[name] for name in ("format", "kind", "version", "params", "inputs")}
        job["key"] = keys.stage_key(ident)
        path.write_text(json.dumps(job))
        record = json.loads((path.parent / "record.json").read_text())
        del record["format"]
        (path.parent / "record.json").write_text(json.dumps(record))
        old = path.parent.name[-keys.KEY_DIGITS :]
        folders.append(path.parent.rename(path.parent.with_name(path.parent.name.replace(old, job["key"]))))
    return folders


@pytest.mark.slow
def test_stages_of_an_older_format_are_made_again_and_said_to_be_older(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    folders = aged(tmp_path / "outputs")
    planned = w2s_inside("plan", *ran).stdout
    assert planned.count("the stage of an older w2s cannot be used") == len(folders)
    listed = w2s_inside("ls", "--state", "older").stdout
    assert all(folder.name[-keys.KEY_DIGITS :] in listed for folder in folders)
    shown = w2s_inside("show", folders[0].name[-keys.KEY_DIGITS :]).stdout
    assert "made by an older w2s: run the command again, or remove it with w2s gc" in shown
    w2s_inside("label", *ran)
    assert w2s_inside("gc").stdout.count("made by an older w2s") == len(folders)
    w2s_inside("gc", "--yes")
    assert not any(folder.exists() for folder in folders)
    assert "4 cached" in w2s_inside("plan", *ran).stdout  # rows of both, weak supervisor, weak labels
