"""Transforms, for data sets that need more than a template: one function per file, with the file's name (`data.transform`).

    def NAME(row, *, draw, <options>) -> dict | None

takes the source's row and `draw(purpose)`, a number in [0, 1) that depends on row, purpose and data seed. It returns fields to add to
the row (usually `answer` and `label`), or None to leave the row out. `data.options` are its keyword arguments. Your own transforms go to
`data/transforms/NAME.py` under a --config-dir.
"""
