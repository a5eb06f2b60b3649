"""What the server of processes imports, so that a check's process does not import torch and transformers once more."""

import logging
from contextlib import suppress

import torch  # noqa: F401
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401

from w2s_cli.stages import finetune  # noqa: F401
from w2s_cli.training import checkpoint, inputs, loop  # noqa: F401
from w2s_cli.training.generation import completing  # noqa: F401
from w2s_cli.training.objectives import classification  # noqa: F401

# Trainer and peft import bitsandbytes, which warns on some CPUs of a kernel that no check uses.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
with suppress(ImportError):  # a check says what is missing
    from transformers import Trainer, TrainingArguments  # noqa: F401
with suppress(ImportError):
    import peft  # noqa: F401
