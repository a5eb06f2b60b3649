"""Figures of a weak-to-strong experiment: of one model, of a pair of models, their intervals, and the smallest effect of a plan.

Read first: `figures` (accuracy to PGR), `intervals` (the bootstrap), `report` (the metrics of a run or of several seeds). `planning` (the
smallest effect that shows) imports nothing, so `w2s plan` stays fast. Each other file has one further idea.
"""

ROLE_NAMES = {"weak": "weak supervisor", "student": "strong student", "ceiling": "strong ceiling"}  # of a comparison
ROLES = tuple(ROLE_NAMES)
