"""Base models from a local folder or the hub; every failure becomes a message.

* A hub model is first brought into its snapshot folder, then loaded like a local model, so loading never needs the network.
  A complete snapshot in the cache is used without a request to the hub.
* Weights are safetensors. A .bin is read only in a folder without safetensors, with weights_only=True, so that no code in it runs.
* A checkpoint must fill the whole trunk: transformers only warns about missing weights, and makes them random numbers.
* Each weight is read in the type that the stage keeps, and on an NVIDIA GPU goes to the device by itself (`reading.py`). So the host never
  has the whole model.
* A checkpoint in MXFP4 (gpt-oss) is opened as plain weights: in bf16, which holds each of its numbers exactly, or in fp32.
"""

import io
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from w2s_cli.errors import UserError
from w2s_cli.hub import refusal
from w2s_cli.store.context import Context
from w2s_cli.training.models import adapters, bf16
from w2s_cli.training.models.folder import READ, WEIGHTS, incomplete, kept_adapters, mxfp4, read, unusable
from w2s_cli.training.models.fused import fuse
from w2s_cli.training.models.reading import DIRECT, in_types, letting_go, stored_in_bf16
from w2s_cli.training.models.trunk import zero_dropout

_TEXT_FILES = [f"*{suffix}" for suffix in READ if suffix not in WEIGHTS]
HOST = torch.device("cpu")
_BUFFERS = ("attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias", "inv_freq", "position_ids")


def quiet() -> None:
    """Switch off the notes and progress bars of libraries: important ones become errors or lines of log.txt."""
    from transformers.utils import logging as notes

    notes.set_verbosity_error()
    notes.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # peft imports it, and it misses kernels that w2s does not use


def base_folder(model: dict[str, Any] | None, upstream: Path | None, ctx: Context) -> Path:
    """The folder of a stage's base model: from the result folder `upstream` of another stage, else local, else from the hub.

    `model` is the identity {"id", "revision"} of a hub model, or {"sha256"} of a local one at `ctx.execution["model_path"]`.
    """
    if upstream is not None:
        return made_folder(upstream, ctx)
    if ctx.execution.get("model_path"):
        return Path(ctx.execution["model_path"])
    assert model is not None
    if "id" not in model:
        raise UserError(
            "the stage has the model's digest but not its folder; the command must give the folder (model_path)"
        )
    return hub_folder(model["id"], model["revision"], ctx)


def made_folder(upstream: Path, ctx: Context) -> Path:
    """The folder of the model in another stage's result; the base of adapters is fetched from the hub if it is not in the cache."""
    folder = upstream / "model"
    if kept_adapters(folder):
        base = adapters.base_of(folder)["model"]
        if "id" in base:
            hub_folder(base["id"], base["revision"], ctx)
    return folder


def hub_folder(repo: str, revision: str, ctx: Context) -> Path:
    """The snapshot folder of a hub model in the cache; downloaded, with progress in megabytes, if it is not complete.

    Raises:
        UserError: offline and not in the cache, no such repository or revision, gated, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(patterns: list[str], local: bool) -> Path:
        options: dict[str, Any] = {"allow_patterns": patterns, "ignore_patterns": ["*/*"], "local_files_only": local}
        return Path(snapshot_download(repo, revision=revision, tqdm_class=_bar_of(ctx), **options))

    text = [*_TEXT_FILES, *(["*.py"] if ctx.execution.get("trust_remote_code") else [])]
    local_only = bool(ctx.execution.get("offline"))
    try:
        with suppress(LocalEntryNotFoundError):
            folder = fetch([*text, "*.safetensors"], local=True)
            if not incomplete(folder):
                return folder
        ctx.log(f"fetching {repo} at {revision} from the hub")
        folder = fetch([*text, "*.safetensors"], local_only)
        if not any(folder.glob("*.safetensors")):
            folder = fetch([*text, "pytorch_model*.bin"], local_only)
    except Exception as error:  # the hub client raises what its transport raises
        advice = (
            f"Fetch it where there is a network (`hf download {repo}`) and copy the cache, or give a local folder "
            "(weak=local weak.path=… or strong=local strong.path=…)."
        )
        raise refusal(error, "model", repo, revision, advice=advice) from error
    problem = incomplete(folder)
    if problem:
        remedy = (
            "run the command again with a network, or without HF_HUB_OFFLINE" if local_only else "choose another model"
        )
        raise UserError(f"model {repo} at {revision}: its folder in the hub cache, {folder}, {problem}; {remedy}")
    return folder


def _bar_of(ctx: Context) -> type:
    """A tqdm class for huggingface_hub that draws no bars; bars that count bytes go to the live view."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc, type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.unit == "B" and self.total:
                ctx.progress(round(self.n / 1e6), max(1, round(self.total / 1e6)), megabytes=self.n / 1e6)
            return drawn

    return Bar


def weights_format(folder: Path) -> str:
    """ "safetensors", or "bin" if the folder has no safetensors: a pickle, read without running its code."""
    return "safetensors" if any(folder.glob("*.safetensors")) else "bin"


def open_part(what: Any, folder: Path, *, trust_remote_code: bool, **options: Any) -> Any:
    """`what.from_pretrained(folder, …)`; transformers' errors become UserErrors that name the folder."""
    beside = kept_adapters(
        folder
    )  # config and tokenizer beside adapters are read from here, the weights from the base's folder
    problem = None if beside else incomplete(folder)
    if problem:
        raise UserError(f"the model folder {folder} {problem}; it must be a folder as save_pretrained writes it")
    problem = None if beside else unusable(folder, code=trust_remote_code)
    if problem:
        raise UserError(f"the model folder {folder} {problem}")
    try:
        return what.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code, **options)
    except SafetensorError as error:
        raise UserError(
            f"the weights in {folder} are cut short or damaged ({error}): fetch the model again, or remove that folder"
        ) from error
    except ImportError as error:
        raise UserError(f"the model in {folder} needs a package that is not installed: {error}") from error
    except Exception as error:  # transformers raises what the reader of each format raises
        text = " ".join(str(error).split())
        if type(error).__name__ == "UnpicklingError":
            text = f"its .bin weights are damaged, or hold more than tensors, and such code is not run; use safetensors ({text})"
        if "trust_remote_code" in text:
            text = "it comes with code of its own; read that code, then set trust_remote_code=true for this model"
        raise UserError(f"the model in {folder} cannot be loaded by {what.__name__}: {text[:500]}") from error


def open_config(folder: Path, execution: dict[str, Any]) -> Any:
    """The config of the model in `folder`, without dropout.

    A pad id outside of the vocabulary (of Llamas: -1, or the first id behind the end) is dropped: torch has no row for it, or freezes
    another token's. The tokenizer's pad token takes its place (`classifier.open_base`).
    """
    from transformers import AutoConfig, PreTrainedConfig

    config = open_part(AutoConfig, folder, trust_remote_code=bool(execution.get("trust_remote_code")))
    zero_dropout(config)
    text = config.get_text_config()
    if not isinstance(text, PreTrainedConfig) or not isinstance(config.architectures, list | None):
        raise UserError(
            f"the config.json in {folder} is damaged: text_config must be an object, and architectures a list"
        )
    words, pad_id = getattr(text, "vocab_size", None), getattr(text, "pad_token_id", None)
    if isinstance(words, int) and isinstance(pad_id, int) and not 0 <= pad_id < words:
        text.pad_token_id = None
    return config


def open_weights(
    auto_class: Any,
    folder: Path,
    config: Any,
    execution: dict[str, Any],
    attention: str | None,
    *,
    new_head: bool,
    kept: bf16.Kept = "fp32",
    device: torch.device = HOST,
) -> tuple[Any, set[str]]:
    """The model with all its weights, and the names of the freshly initialised weights (of the head only).

    Adapters are merged into the weights of their base. Weights are in fp32, linear layers as `kept` says, and on `device` or the host.

    Raises:
        UserError: the checkpoint has another architecture or size, or (without `new_head`) no classifier head.
    """
    options: dict[str, Any] = {"new_head": new_head, "kept": kept, "device": device}
    if kept_adapters(folder):
        return _with_adapters(auto_class, folder, config, execution, attention, **options)
    model, report = open_typed(
        auto_class,
        folder,
        kept,
        device,
        trust_remote_code=bool(execution.get("trust_remote_code")),
        config=config,
        attn_implementation=attention,
        output_loading_info=True,
    )
    missing = set(report["missing_keys"])
    lost = sorted(name for name in missing if not new_head or _in_trunk(name, model))
    unexpected = sorted(n for n in report["unexpected_keys"] if _in_trunk(n, model) and not n.endswith(_BUFFERS))
    mismatched = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    for names, what in (
        (mismatched, "has another shape for"),
        (lost, "lacks"),
        (unexpected, "has, but its config not,"),
    ):
        if names:
            raise UserError(
                f"the checkpoint in {folder} is not a {config.model_type} of its config.json: it {what} "
                f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
            )
    fuse(model)
    return model, missing


def open_typed(what: Any, folder: Path, kept: bf16.Kept, device: torch.device, **options: Any) -> Any:
    """`open_part` of plain weights, in fp32 and as `kept` says, on `device` if it is an NVIDIA GPU, else on the host."""
    packed = mxfp4(read(folder / "config.json"))
    if packed is not None:
        from transformers import Mxfp4Config

        options["config"].quantization_config = packed  # the config may be that of adapters
        options["quantization_config"] = Mxfp4Config(dequantize=True)
    if device.type in DIRECT:
        options["device_map"] = {"": device}
    if kept == "stored" and not stored_in_bf16(folder):
        kept = "fp32"
    with in_types(kept, experts=packed is not None), letting_go():
        given = open_part(what, folder, dtype=torch.float32, **options)
    model = given[0] if isinstance(given, tuple) else given
    bf16.settle(model)
    if packed is not None:  # else transformers would save plain weights under the names of packed ones
        packing = [one for one in model._weight_conversions if any("_blocks" in name for name in one.source_patterns)]
        model._weight_conversions = [one for one in model._weight_conversions if one not in packing]
    return given


def _with_adapters(
    auto_class: Any,
    folder: Path,
    config: Any,
    execution: dict[str, Any],
    attention: str | None,
    *,
    new_head: bool,
    kept: bf16.Kept,
    device: torch.device,
) -> tuple[Any, set[str]]:
    """`open_weights` of the adapters in `folder`: the base with the rows that the training added for a pad token, and the adapters.

    The base is opened as it is stored, so that adapters and 4 bits act on its exact numbers, layer by layer.
    """
    drawn, base = torch.get_rng_state(), adapters.base_folder_of(folder, execution)
    missing: set[str] = set()
    exact: bf16.Kept = "fp32" if kept == "fp32" and not adapters.on_nf4(folder) else "stored"

    def load() -> Any:
        options: dict[str, Any] = {"new_head": True, "kept": exact, "device": device}
        model, fresh = open_weights(auto_class, base, config, execution, attention, **options)
        missing.update(fresh)
        return model

    model = on_base(load, config, open_config(base, execution))
    missing -= adapters.apply(model, folder, kept)
    torch.set_rng_state(drawn)  # as if the weights had been saved whole: a new head's random numbers are the same
    lost = sorted(missing) if not new_head else []
    if lost:
        raise UserError(
            f"the adapters in {folder} lack the head's {lost[0]}: they are not a {auto_class.__name__[13:]}"
        )
    return model, missing


def on_base(load: Callable[[], Any], config: Any, of_base: Any) -> Any:
    """The model that `load` makes with `config`, whose vocabulary may be larger than that of the base whose weights it reads."""
    text, own = config.get_text_config(), of_base.get_text_config()
    rows, pads = text.vocab_size, (config.pad_token_id, text.pad_token_id)
    text.vocab_size = own.vocab_size
    if rows != own.vocab_size:
        config.pad_token_id = text.pad_token_id = None  # a row that the base does not have
    model = load()
    if rows != own.vocab_size:
        add_rows(model, rows)
    for one in (config, model.config):  # transformers may have copied it
        one.get_text_config().vocab_size = rows
        one.pad_token_id, one.get_text_config().pad_token_id = pads
    return model


def add_rows(model: Any, rows: int) -> None:
    """Extend the embedding of a model to so many `rows`; the new ones are zeros."""
    before = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[before:] = 0


def _in_trunk(name: str, model: Any) -> bool:
    """Whether the weight `name`, with or without the trunk's prefix, belongs to the trunk; a pooler is part of the head."""
    prefix = f"{model.base_model_prefix}."
    child = name.removeprefix(prefix).split(".")[0]
    return child != "pooler" and (name.startswith(prefix) or child in dict(model.base_model.named_children()))
