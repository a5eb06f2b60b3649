"""The demonstrations before a prompt: which, in which order.

They are drawn by the hash of (seed, row id) among the texts that came to their end, so that no text in the prompt breaks off. Of a file
the first ones are taken, in the file's order.
"""

import json
from pathlib import Path
from typing import Any

from w2s_cli.data.artifacts.completions import read_completions
from w2s_cli.data.artifacts.rows import read_problems
from w2s_cli.errors import UserError
from w2s_cli.paths import read_text
from w2s_cli.statistics.draw import drawer
from w2s_cli.store.context import Context
from w2s_cli.store.files import sha256_file

Demonstration = tuple[str, str]  # prompt, completion


def chosen(params: dict[str, Any], examples: Path | None, texts: Path | None, ctx: Context) -> list[Demonstration]:
    """The demonstrations of a stage's params, in the order of the prompt.

    Args:
        params: demonstrations {shots, separator, sha256 of a file}; None: no demonstrations.
        examples: the folder of the rows stage; None with a file.
        texts: the folder of their texts; None: the rows' true solutions.

    Raises:
        UserError: fewer texts than shots, or a file that is not as planned.
    """
    how = params["demonstrations"]
    if how is None:
        return []
    if "sha256" in how:
        path = Path(ctx.execution["demonstrations_path"])
        if sha256_file(path) != how["sha256"]:
            raise UserError(f"{path} has changed since this run was planned: run the command again.")
        return of_file(path, how["shots"])
    assert examples is not None
    problems = read_problems(examples)
    if texts is None:
        written = dict(zip(problems.ids, problems.need("solution"), strict=True))
    else:
        completions = read_completions(texts)
        usable = [at for at, whole in enumerate(completions.whole) if whole and completions.texts[at]]
        written = {
            completions.ids[at]: completions.texts[at] for at in reversed(usable)
        }  # the first sample of each row
    names = [name for name in problems.ids if name in written]
    if len(names) < how["shots"]:
        raise UserError(
            f"{texts or examples} has {len(names)} whole texts for {how['shots']} demonstrations: set generation.shots lower, or raise "
            "generation.max_new_tokens so that texts come to their end"
        )
    turn = drawer("demonstration", params["seed"])
    first = sorted(names, key=lambda name: (turn(name), name))[: how["shots"]]
    prompts = dict(zip(problems.ids, problems.prompts, strict=True))
    return [(prompts[name], written[name]) for name in first]


def of_file(path: Path, shots: int) -> list[Demonstration]:
    """The first `shots` demonstrations of a file with a JSON object {"prompt": …, "completion": …} a line.

    Raises:
        UserError: a line without these two texts, or fewer lines than shots.
    """
    shown: list[Demonstration] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        match entry:
            case {"prompt": str(prompt), "completion": str(completion)} if prompt.strip() and completion.strip():
                shown.append((prompt, completion))
            case _:
                raise UserError(f'{path}, line {number}: expected two texts, {{"prompt": "…", "completion": "…"}}')
    if len(shown) < shots:
        raise UserError(f"{path} has {len(shown)} demonstrations, and generation.shots={shots}")
    return shown[:shots]
