"""Experiments of papers as data: configs/experiment/NAME.yaml has the runs, the scales and the compared figures.

* `experiment.py` reads and checks the YAML and expands it to configurations; `comparison.py` compares the results with the reported
  figures; `records.py` stores the record of a reproduction. `pipeline/cost.py` estimates the cost of its plan.
* An experiment consists of overrides of `w2s train`: its stages, keys and results are those of the same words on a command line.
"""
