"""A search over settings: its space, the sampler that proposes trials, and the record of the trials.

`config/searching.py` reads the space from the command line, `commands/search.py` runs the trials. The score of a trial is the result of its
`validate` stage (`stages/validate.py`), so the store holds it.
"""
