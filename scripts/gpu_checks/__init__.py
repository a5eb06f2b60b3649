"""What w2s does on a GPU; `scripts/gpu_check` runs it.

settings.py      sizes: full, tiny          shapes.py rows.py     models of real shapes with random weights, rows; made without a network
checks/          one file a check: RUNS, run(settings, shape) → records; found by its name
learning.py      a training by the loop of w2s, and by transformers.Trainer      stages.py   the finetune stage in a process of its own
estimate.py      the memory that a plan expects       peaks.py      FLOPs and the peak of a card
processes.py     each check in a process of its own, with a time limit           machine.py  the card and the versions
report.py        lines, table, JSON                   __main__.py   the command line, the order and the time
"""
