"""Experiments of papers as data: configs/experiment/NAME.yaml says what to run, at which scales, and which figures to compare with.

* `experiment.py` reads and checks the YAML and writes it out as configurations; `planning.py` plans them without a hub; `cost.py` estimates
  what a plan costs; `comparison.py` puts the results beside the reported figures; `records.py` keeps what a reproduction came to.
* An experiment names overrides of `w2s train` and nothing else: its stages, keys and results are those that the same words would make.
"""
