"""The shape of a model from its config.json alone: parameters, widths and layers, without torch and without weights.

* The formulas count the matrices of a transformer: embeddings, attention, feed-forward layers, experts. Biases, norms and rotary tables are
  left out; they are below a thousandth. `tests/unit/pipeline/test_shapes.py` compares the counts with transformers' own modules and with
  published counts: within 1 % for decoders.
* Fields are read by name, not by architecture: a field that is missing has the value that older architectures have. So a model of
  next year is counted as far as its config.json names its parts as today's do.
* `active` counts what one token goes through: of a mixture of experts, the chosen experts. FLOPs follow it, memory follows `parameters`.
* A model without a config.json (a plan without the hub) has the shape of a dense decoder with as many parameters (`of_size`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from w2s_cli.training.models.folder import mxfp4

NAMES = {  # of one size in the config.json of different architectures
    "width": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "keys": ("num_key_value_heads", "num_kv_heads"),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "dff", "hidden_dim"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "chosen": ("num_experts_per_tok", "top_k_experts", "experts_per_token"),
}
SWISH = ("silu", "swish")  # activations of gated feed-forward layers only
DEPTH = 32  # width of a model divided by its layers, about


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide its memory and its FLOPs."""

    parameters: float
    active: float  # parameters that one token goes through
    linear: float  # parameters in the linear layers of the body, without experts: what adapters adapt and 4-bit weights replace
    sides: float  # inputs + outputs of these layers, summed: an adapter of rank r has r times as many parameters
    output: float  # parameters of an output layer apart from the embedding; a classifier has none
    vocabulary: int
    width: int
    layers: int
    heads: int
    keys: int  # width of all keys of a token: key-value heads × size of a head
    queries: int  # width of all queries
    inner: int  # width of the feed-forward layer that one token goes through
    gated: bool
    packed: float = 0.0  # parameters in MXFP4: the experts of gpt-oss
    in_bf16: bool = False  # the matrices of the checkpoint are in bf16

    def plain(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def read_shape(config: Mapping[str, Any]) -> Shape | None:
    """The shape of the model with this config.json; None without the sizes of a transformer."""
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else config
    width, layers, heads = (_size(text, name) for name in ("width", "layers", "heads"))
    vocabulary = text.get("vocab_size", config.get("vocab_size"))
    if not (width and layers and heads and isinstance(vocabulary, int)):
        return None
    inner = _size(text, "inner") or 4 * width
    gated = text.get("hidden_act") in SWISH or "hidden_activation" in text or _size(text, "keys") is not None
    experts, used, router = _experts(text, width, inner)
    linear = sides = 0.0
    for number in range(layers):
        matrices = [*_attention(text, number, width, heads), *_feed_forward(text, number, width, inner, gated)]
        if experts and not text.get("enable_moe_block"):
            matrices = matrices[: -3 if gated else -2]  # experts in the place of the feed-forward layer
        linear += sum(rows * columns for rows, columns in matrices)
        sides += sum(rows + columns for rows, columns in matrices)
    beside = layers * int(text.get("hidden_size_per_layer_input") or 0)
    per_layer = beside * (int(text.get("vocab_size_per_layer_input") or vocabulary) + width)
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", _tied_by_default(text)))
    positions = _learned_positions(text) * width
    words = vocabulary * width
    eyes = _vision(config.get("vision_config"))
    untied = 0 if tied else words
    chosen = _size(text, "chosen") or 1
    head = int(text.get("head_dim") or width // heads)
    moe_inner = text.get("moe_intermediate_size") or inner
    return Shape(
        parameters=linear + layers * (experts + router) + words + untied + positions + per_layer + eyes,
        active=linear + layers * (used + router) + words + untied + positions,
        linear=linear,
        sides=sides,
        output=float(untied),
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        heads=heads,
        keys=(_size(text, "keys") or heads) * head,
        queries=heads * head,
        inner=int(inner if not _size(text, "experts") else chosen * moe_inner),
        gated=gated,
        packed=layers * experts if mxfp4(config) else 0.0,
        in_bf16=config.get("dtype", config.get("torch_dtype")) == "bfloat16" or bool(mxfp4(config)),
    )


def of_size(parameters: float) -> Shape:
    """The shape of a dense decoder with so many parameters, about: 12 · layers · width² of them (Kaplan et al. 2020, section 2.1)."""
    width = max(1, round(width_of(parameters)))
    layers = max(1, round(width / DEPTH))
    return Shape(
        parameters=parameters,
        active=parameters,
        linear=parameters,
        sides=parameters / width * 2.5,
        output=0.0,
        vocabulary=0,
        width=width,
        layers=layers,
        heads=max(1, width // 64),
        keys=width,
        queries=width,
        inner=4 * width,
        gated=False,
    )


def width_of(parameters: float) -> float:
    """The width of a decoder with so many parameters, about."""
    return float((DEPTH / 12 * parameters) ** (1 / 3))


def _size(text: Mapping[str, Any], name: str) -> int | None:
    """A size by the first of its names that the config has."""
    for field in NAMES[name]:
        value = text.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _attention(text: Mapping[str, Any], layer: int, width: int, heads: int) -> list[tuple[int, int]]:
    """(outputs, inputs) of the projections of queries, keys, values and the output of one layer.

    Gemma 4: layers with full attention have heads of another size, the last `num_kv_shared_layers` take the keys and values of earlier
    layers, and with `attention_k_eq_v` full attention has its keys as values.
    """
    keys = _size(text, "keys") or (1 if text.get("multi_query") else heads)
    head = int(text.get("head_dim") or width // heads)
    types = text.get("layer_types")
    full = isinstance(types, list) and layer < len(types) and types[layer] == "full_attention"
    one = False
    if full and text.get("global_head_dim"):
        head = int(text["global_head_dim"])
        one = bool(text.get("attention_k_eq_v"))
        keys = int(text.get("num_global_key_value_heads") or keys) if one else keys
    projections = [(heads * head, width), (width, heads * head)]
    shared = int(text.get("num_kv_shared_layers") or 0)
    if shared and layer >= (_size(text, "layers") or 0) - shared:
        return projections
    return projections + [(keys * head, width)] * (1 if one else 2)


def _feed_forward(text: Mapping[str, Any], layer: int, width: int, inner: int, gated: bool) -> list[tuple[int, int]]:
    """(outputs, inputs) of a layer's feed-forward matrices, and of its gate for an embedding of its own (Gemma 4)."""
    shared = int(text.get("num_kv_shared_layers") or 0)
    if text.get("use_double_wide_mlp") and layer >= (_size(text, "layers") or 0) - shared:
        inner *= 2
    matrices = [(inner, width)] * (2 if gated else 1) + [(width, inner)]
    own = int(text.get("hidden_size_per_layer_input") or 0)
    return [*([(own, width), (width, own)] if own else []), *matrices]


def _experts(text: Mapping[str, Any], width: int, inner: int) -> tuple[float, float, float]:
    """Parameters of a layer's experts, of those that a token goes through, and of the router; zeros of a dense model."""
    count, chosen = _size(text, "experts"), _size(text, "chosen")
    if not count or not chosen or text.get("enable_moe_block") is False:
        return 0.0, 0.0, 0.0
    one = 3.0 * width * int(text.get("moe_intermediate_size") or inner)
    return count * one, chosen * one, float(count * width)


def _learned_positions(text: Mapping[str, Any]) -> int:
    """Rows of a learned embedding of positions: in architectures without rotations."""
    turned = any(str(name).startswith(("rope", "rotary")) for name in text) or _size(text, "keys") is not None
    count = text.get("n_positions") or text.get("max_position_embeddings")
    return int(count) if isinstance(count, int) and not turned else 0


def _tied_by_default(text: Mapping[str, Any]) -> bool:
    """transformers leaves a field out of config.json that has its default: tied embeddings, but not of Llamas and their kin."""
    return text.get("hidden_act") not in SWISH


def _vision(vision: Any) -> float:
    """Parameters of an image encoder beside the language model; 0 without one."""
    if not isinstance(vision, Mapping):
        return 0.0
    width, layers, inner = (_size(vision, name) or 0 for name in ("width", "layers", "inner"))
    gated = "hidden_activation" in vision or "position_embedding_size" in vision
    positions = 2 * int(vision.get("position_embedding_size") or 0)
    patch = int(vision.get("patch_size") or 14)
    if not positions and vision.get("image_size"):
        positions = (int(vision["image_size"]) // patch) ** 2
    return float(layers * (4 * width**2 + (3 if gated else 2) * width * inner) + (positions + 3 * patch**2) * width)
