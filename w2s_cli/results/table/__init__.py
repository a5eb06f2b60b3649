"""Tables of stored results.

* The steps: the request of `w2s table` (`request`), settings with joined seeds (`settings`), the fields that distinguish settings
  (`distinguishing`), figures (`measures`), the grid (`grid`), tests between columns (`comparisons`), commands for empty cells (`missing`),
  and the output (`formats`, `fitting`).
* No step trains or changes a result; `results.reader` reads all results from outputs/runs and outputs/sweeps.
"""
