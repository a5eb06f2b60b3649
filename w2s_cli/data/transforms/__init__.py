"""What a template cannot say: one function per file, named as the file, looked up by name (`data.transform`).

    def NAME(row, *, draw, <options>) -> dict | None

gets the source's row and `draw(purpose)`, a number in [0, 1) that belongs to this row, purpose and data seed; it returns fields to
add to the row (usually `answer` and `label`), or None to leave the row out. `data.options` are its keyword arguments. Your own go to
`data/transforms/NAME.py` under a --config-dir.
"""
