"""Tables of stored results: seeds joined (`settings`), what tells settings apart (`distinguishing`), figures (`measures`), the grid
(`grid`), how it is written (`formats`, `fitting`), tests between columns (`comparisons`), commands for empty cells (`missing`), and what
`w2s table` was asked (`request`).

Nothing here trains or changes a result; everything is read from outputs/runs and outputs/sweeps by `results.reader`.
"""
