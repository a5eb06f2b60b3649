"""The artifacts that stages hand to each other: one file of this folder an artifact, one writer and one reader in each.

* An artifact is a file of a stage's result folder; writers and readers take that folder.
* Rows are joined by id and never by position. A missing, extra or repeated id is refused, so that models are always compared on, and
  trained on, the rows that are meant.
* The same values give the same bytes. NumPy and pyarrow alone: a stage that is arithmetic on files never loads torch.
* The names of the files stand here, for code that only looks whether a file exists.
"""

ROWS = "rows.parquet"
LABELS = "labels.parquet"
FEATURES = "features.safetensors"
WEIGHTS = "weights.parquet"
PREDICTIONS = "predictions.parquet"
COMPLETIONS = "completions.parquet"
GRADES = "grades.parquet"
EXAMPLES = "examples.parquet"
PAIRS = "pairs.parquet"
SCORES = "scores.parquet"
GRADED = "graded.parquet"
