"""The shapes of large models: fields of their config.json that decide sizes, and their numbers of parameters, as published.

* Sources of the fields. MAXTEXT: AI-Hypercomputer/maxtext, src/maxtext/checkpoint_conversion/utils/hf_model_configs.py (the config.json of
  each repository on the hub, copied by its authors). LITGPT: Lightning-AI/litgpt, litgpt/config.py, which cites the config.json of each.
  FAIRSEQ2: facebookresearch/fairseq2, the olmo models' config.py. OLMO_CORE: allenai/OLMo-core, nn/transformer/config.py, olmo2_32B.
  TRANSFORMERS: the defaults of the config class, whose documentation names that checkpoint.
* Sources of the counts. Qwen3: the model cards ("Number of Parameters"). Llama: the model cards of 3.2; of 3.1 and 3.3, of OLMo and of
  SmolLM3 the count that the hub shows. Gemma 3: technical report, table 1. Gemma 4: model card. gpt-oss: model card, table 1.
* Gemma 4 E2B and E4B also have an audio encoder of about 300 million parameters, whose shape MAXTEXT leaves out; `beside` adds it. The
  card's counts of 26B A4B and 31B leave out the image encoder; `beside` takes its 569 million off.
"""

from typing import Any, NamedTuple


class Shaped(NamedTuple):
    """One model: its name in configs/model, where its fields come from, and the fields."""

    source: str
    published: float  # millions of parameters
    config: dict[str, Any]
    beside: float = 0.0  # millions of parameters in parts that the fields do not describe


def _qwen3(width: int, ffn: int, layers: int, heads: int, *, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": width,
        "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 8,
        "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "tie_word_embeddings": tied,
    }  # fmt: skip


def _llama(width: int, ffn: int, layers: int, heads: int, *, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": width,
        "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 8,
        "hidden_act": "silu", "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "tie_word_embeddings": tied, "bos_token_id": 128000, "eos_token_id": 128001,
    }  # fmt: skip


def _gemma3_text(width: int, ffn: int, layers: int, heads: int, kv: int, head: int) -> dict[str, Any]:
    return {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "vocab_size": 262144, "hidden_size": width,
        "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "head_dim": head, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "sliding_window": 512,
    }  # fmt: skip


_SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
    "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip


def _gemma3(text: dict[str, Any]) -> dict[str, Any]:
    text = {**text, "sliding_window": 1024, "max_position_embeddings": 131072}
    return {
        "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "mm_tokens_per_image": 256,
        "text_config": {name: value for name, value in text.items() if name != "architectures"}, "vision_config": _SIGLIP,
    }  # fmt: skip


_GEMMA4_TEXT = {
    "model_type": "gemma4_text", "vocab_size": 262144, "hidden_activation": "gelu_pytorch_tanh", "head_dim": 256,
    "global_head_dim": 512, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
    "vocab_size_per_layer_input": 262144,
}  # fmt: skip
_EDGE = {"attention_k_eq_v": False, "hidden_size_per_layer_input": 256, "sliding_window": 512, "num_attention_heads": 8}
_SERVER = {
    "attention_k_eq_v": True,
    "hidden_size_per_layer_input": 0,
    "sliding_window": 1024,
    "num_kv_shared_layers": 0,
}
_FULL = [*["sliding_attention"] * 5, "full_attention"]


def _gemma4(vision: dict[str, Any], **text: Any) -> dict[str, Any]:
    common = {
        "model_type": "gemma4_vision",
        "patch_size": 16,
        "position_embedding_size": 10240,
        "pooling_kernel_size": 3,
    }
    return {
        "model_type": "gemma4", "architectures": ["Gemma4ForConditionalGeneration"], "audio_config": None,
        "text_config": {**_GEMMA4_TEXT, **text}, "vision_config": {**common, **vision}, "tie_word_embeddings": True,
    }  # fmt: skip


_SMALL_EYE = {
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_key_value_heads": 12, "head_dim": 64,
    "global_head_dim": 64, "num_hidden_layers": 16, "use_clipped_linears": True,
}  # fmt: skip
_EYE = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 72,
    "global_head_dim": 72, "num_hidden_layers": 27, "use_clipped_linears": False,
}  # fmt: skip


def _olmo(kind: str, width: int, ffn: int, layers: int, heads: int, kv: int) -> dict[str, Any]:
    return {
        "model_type": kind, "architectures": [f"{kind.capitalize()}ForCausalLM"],
        "vocab_size": 100352 if kind == "olmo2" else 100278, "hidden_size": width, "intermediate_size": ffn,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "hidden_act": "silu",
        "max_position_embeddings": 4096 if kind == "olmo2" else 65536, "rms_norm_eps": 1e-6, "rope_theta": 500000,
        "tie_word_embeddings": False, "pad_token_id": 100277, "eos_token_id": 100257,
    }  # fmt: skip


def _gpt_oss(layers: int, experts: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "vocab_size": 201088, "hidden_size": 2880,
        "intermediate_size": 2880, "head_dim": 64, "num_hidden_layers": layers, "num_attention_heads": 64,
        "num_key_value_heads": 8, "num_local_experts": experts, "num_experts_per_tok": 4, "attention_bias": True,
        "hidden_act": "silu", "max_position_embeddings": 131072, "sliding_window": 128, "tie_word_embeddings": False,
        "pad_token_id": 199999, "eos_token_id": 200002, "quantization_config": {"quant_method": "mxfp4"},
    }  # fmt: skip


SHAPES = {
    "qwen3-0.6b-base": Shaped("MAXTEXT", 596, _qwen3(1024, 3072, 28, 16, tied=True)),
    "qwen3-1.7b-base": Shaped("MAXTEXT", 1720, _qwen3(2048, 6144, 28, 16, tied=True)),
    "qwen3-4b-base": Shaped("MAXTEXT", 4000, _qwen3(2560, 9728, 36, 32, tied=True)),
    "qwen3-8b-base": Shaped("MAXTEXT", 8200, _qwen3(4096, 12288, 36, 32, tied=False)),
    "qwen3-14b-base": Shaped("MAXTEXT", 14800, _qwen3(5120, 17408, 40, 40, tied=False)),
    "qwen3-32b": Shaped("MAXTEXT", 32800, _qwen3(5120, 25600, 64, 64, tied=False)),
    "llama-3.2-1b": Shaped("LITGPT", 1230, _llama(2048, 8192, 16, 32, tied=True)),
    "llama-3.2-3b": Shaped("LITGPT", 3210, _llama(3072, 8192, 28, 24, tied=True)),
    "llama-3.1-8b": Shaped("MAXTEXT", 8030, _llama(4096, 14336, 32, 32, tied=False)),
    "llama-3.1-70b": Shaped("MAXTEXT", 70600, _llama(8192, 28672, 80, 64, tied=False)),
    "llama-3.3-70b-instruct": Shaped("LITGPT", 70600, _llama(8192, 28672, 80, 64, tied=False)),
    "gemma-3-1b": Shaped("LITGPT", 1000, _gemma3_text(1152, 6912, 26, 4, 1, 256)),
    "gemma-3-4b": Shaped("MAXTEXT", 4301, _gemma3(_gemma3_text(2560, 10240, 34, 8, 4, 256))),
    "gemma-3-12b": Shaped("MAXTEXT", 12188, _gemma3(_gemma3_text(3840, 15360, 48, 16, 8, 256))),
    "gemma-3-27b": Shaped("MAXTEXT", 27433, _gemma3(_gemma3_text(5376, 21504, 62, 32, 16, 128))),
    "gemma-4-e2b": Shaped(
        "MAXTEXT",
        5100,
        _gemma4(
            _SMALL_EYE,
            **_EDGE,
            hidden_size=1536,
            intermediate_size=6144,
            num_hidden_layers=35,
            num_key_value_heads=1,
            num_kv_shared_layers=20,
            use_double_wide_mlp=True,
            layer_types=[*["sliding_attention"] * 4, "full_attention"] * 7,
        ),
        beside=300,
    ),
    "gemma-4-e4b": Shaped(
        "MAXTEXT",
        8000,
        _gemma4(
            _SMALL_EYE,
            **_EDGE,
            hidden_size=2560,
            intermediate_size=10240,
            num_hidden_layers=42,
            num_key_value_heads=2,
            num_kv_shared_layers=18,
            use_double_wide_mlp=False,
            layer_types=_FULL * 7,
        ),
        beside=300,
    ),
    "gemma-4-26b-a4b": Shaped(
        "MAXTEXT",
        25200,
        _gemma4(
            _EYE,
            **_SERVER,
            hidden_size=2816,
            intermediate_size=2112,
            num_hidden_layers=30,
            num_attention_heads=16,
            num_key_value_heads=8,
            num_global_key_value_heads=2,
            layer_types=_FULL * 5,
            enable_moe_block=True,
            num_experts=128,
            top_k_experts=8,
            moe_intermediate_size=704,
        ),
        beside=-569,
    ),
    "gemma-4-31b": Shaped(
        "MAXTEXT",
        30700,
        _gemma4(
            _EYE,
            **_SERVER,
            hidden_size=5376,
            intermediate_size=21504,
            num_hidden_layers=60,
            num_attention_heads=32,
            num_key_value_heads=16,
            num_global_key_value_heads=4,
            layer_types=_FULL * 10,
            enable_moe_block=False,
        ),
        beside=-569,
    ),
    "olmo-2-1b": Shaped("FAIRSEQ2", 1485, _olmo("olmo2", 2048, 8192, 16, 16, 16)),
    "olmo-2-7b": Shaped("LITGPT", 7300, _olmo("olmo2", 4096, 11008, 32, 32, 32)),
    "olmo-2-13b": Shaped("LITGPT", 13700, _olmo("olmo2", 5120, 13824, 40, 40, 40)),
    "olmo-2-32b": Shaped("OLMO_CORE", 32200, _olmo("olmo2", 5120, 27648, 64, 40, 8)),
    "olmo-3-7b": Shaped("MAXTEXT", 7300, _olmo("olmo3", 4096, 11008, 32, 32, 32)),
    "olmo-3-32b": Shaped("MAXTEXT", 32200, _olmo("olmo3", 5120, 27648, 64, 40, 8)),
    "smollm3-3b-base": Shaped(
        "TRANSFORMERS",
        3080,
        {
            "model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "vocab_size": 128256, "hidden_size": 2048,
            "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
            "hidden_act": "silu", "max_position_embeddings": 65536, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
        },
    ),
    "gpt-oss-20b": Shaped("MAXTEXT", 20900, _gpt_oss(24, 32)),
    "gpt-oss-120b": Shaped("MAXTEXT", 116800, _gpt_oss(36, 128)),
}  # fmt: skip
