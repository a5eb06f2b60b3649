"""A tiny checkpoint that writes varied texts, and the prompts that it answers."""

from pathlib import Path

import pytest

from tests.tiny_models import make_model
from tests.unit.training.generation.rows import PROMPTS, write_problems


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "model", "llama", initializer_range=0.5)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_problems(tmp_path_factory.mktemp("problems") / "rows", PROMPTS)
