"""Tables of stored results: what is there (`entries`), seeds joined (`settings`), figures (`measures`), the grid (`grid`), how it
is written (`formats`), tests between columns (`comparisons`), commands for empty cells (`missing`), and what `w2s table`
was asked (`request`).

Nothing here trains or changes a result; everything is read from outputs/runs and outputs/sweeps.
"""
