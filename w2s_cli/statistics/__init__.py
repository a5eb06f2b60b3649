"""Figures of a weak-to-strong experiment: of one model, of a pair, their intervals, and what a plan can show.

Four ideas, four files: `figures` (accuracy to PGR), `intervals` (the bootstrap), `report` (the metrics of a
run or of several seeds), `planning` (the smallest effect that shows; imports nothing, so `w2s plan` stays
fast).
"""
