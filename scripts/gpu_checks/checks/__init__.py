"""One file a check: `RUNS` (shape → `Turn`), `run(settings, shape) -> list[Record]`; the first line of its docstring is its title.

A check that this machine cannot have raises `NotHere`. A record with a target is met or missed; one without a target only informs.
"""
