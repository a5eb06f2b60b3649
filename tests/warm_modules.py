"""What the worker of a tiny training imports, for the server of `tests.warm`. It may import, and may start no thread."""

import gc
from importlib import import_module

from w2s_cli.pipeline.kinds import find, kind_names

MODULES = (
    "pandas",  # pyarrow imports it to look at an array
    "pyarrow.compute",
    "pyarrow.parquet",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "w2s_cli.data.taking",
    "w2s_cli.run.worker",
    "w2s_cli.statistics.report",
    "w2s_cli.training.loop",
    "w2s_cli.training.models.forward_pass",
    "w2s_cli.training.saved_check",
)
IMPORTED = [import_module(name) for name in MODULES]
KINDS = [find(name) for name in kind_names()]
gc.freeze()  # else the first collection of each fork copies the pages of all modules
