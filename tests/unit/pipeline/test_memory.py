"""The estimate of memory: its parts by hand, what a device has, and the lines for stages that do not fit."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.model_shapes import SHAPES
from w2s_cli.pipeline.memory import GIB, PROCESS, Setup, need, spread_out, ways_out
from w2s_cli.pipeline.shapes import Shape, read_shape
from w2s_cli.run import device_memory, devices
from w2s_cli.run.device_memory import device_here


def shape_of(name: str) -> Shape:
    shape = read_shape(SHAPES[name].config)
    assert shape is not None
    return shape


def test_the_parts_are_those_of_the_recipe() -> None:
    shape, full = shape_of("llama-3.1-8b"), Setup(True, precision="bf16", words=True, gpu=True)
    memory = need(shape, full)
    assert memory.weights == 4 * shape.parameters + 2 * shape.linear  # fp32, and the copies of autocast
    assert memory.gradients == 4 * shape.parameters
    assert memory.optimizer == 8 * shape.parameters
    assert memory.total == memory.weights + 12 * shape.parameters + memory.activations + PROCESS
    small = need(shape, replace(full, optimizer="adamw8bit"))
    assert small.optimizer < 0.27 * memory.optimizer
    assert need(shape, replace(full, offloaded=True)).optimizer == 0
    adapters = need(shape, replace(full, adapters=8))
    assert adapters.gradients == pytest.approx(4 * 20_971_520, rel=1e-3)  # the count of test_lora.py
    four = need(shape, replace(full, adapters=8, four_bits=True))
    assert four.weights / GIB == pytest.approx(7.9, abs=0.3)  # 3.7 of the layers, the rest the embeddings in fp32
    kept = need(shape, replace(full, checkpointing=True)).activations
    assert kept < 0.2 * memory.activations
    assert need(shape, Setup(False, precision="bf16")).gradients == 0


def test_layers_in_bf16_have_no_copies_and_adapters_on_another_stages_model_do() -> None:
    shape = shape_of("llama-3.1-8b")
    learned = shape.parameters - shape.output
    outside = 4 * (learned - shape.linear)
    reading = Setup(False, precision="bf16", gpu=True)
    assert need(shape, reading).weights == outside + 2 * shape.linear
    assert need(shape, replace(reading, precision="fp32")).weights == 4 * learned
    training = replace(reading, trains=True, adapters=8, pretrained=True)
    stored = replace(shape, in_bf16=True)
    trained = need(stored, training).gradients  # fp32, as the adapters
    assert need(stored, training).weights == outside + 2 * shape.linear + trained
    for one, setup in ((shape, training), (stored, replace(training, pretrained=False))):
        assert need(one, setup).weights == 4 * learned + 2 * shape.linear + trained
    assert need(shape, replace(reading, merges=True)).total - PROCESS == pytest.approx(4 * learned)
    assert need(stored, replace(reading, merges=True)) == need(stored, reading)


def test_the_type_of_a_checkpoint_is_that_of_its_config() -> None:
    plain = SHAPES["qwen3-8b-base"].config
    assert not shape_of("qwen3-8b-base").in_bf16
    for field in ("dtype", "torch_dtype"):
        read = read_shape({**plain, field: "bfloat16"})
        assert read is not None
        assert read.in_bf16


def test_experts_in_mxfp4_take_two_bytes_where_nothing_trains_them() -> None:
    shape = shape_of("gpt-oss-20b")
    assert shape.packed / 1e9 == pytest.approx(19.1, abs=0.1)  # of 20.9
    reading = Setup(False, precision="bf16", gpu=True, words=True)
    memory = need(shape, reading)
    assert memory.weights / GIB == pytest.approx((2 * 19.7 + 4 * 1.2) * 1e9 / GIB, rel=0.02)
    assert memory.activations >= 5 * 32 * 2880 * 5760  # the numbers of one matrix, unpacked
    assert need(shape, replace(reading, trains=True, adapters=8, pretrained=True)).weights < 1.02 * memory.weights
    assert need(shape, replace(reading, precision="fp32")).weights == 4 * shape.parameters
    assert need(shape, replace(reading, trains=True)).weights > 4 * shape.parameters


def test_a_classifier_has_no_output_layer() -> None:
    shape = shape_of("llama-3.1-8b")
    without = need(shape, Setup(True)).gradients
    assert need(shape, Setup(True, words=True)).gradients - without == 4 * 128256 * 4096


def test_every_way_out_makes_the_stage_smaller() -> None:
    shape = shape_of("qwen3-8b-base")
    for setup in (Setup(True, tokens=8192, row=512, gpu=True), Setup(True, adapters=8, row=512), Setup(False, row=512)):
        for words, change in ways_out(setup):
            assert need(shape, change(setup)).total < need(shape, setup).total, words
    assert [words for words, _ in ways_out(Setup(False, tokens=512, row=512))] == []


@pytest.mark.parametrize("adapters", [0, 8])
def test_a_training_of_several_processes_may_lie_in_parts(adapters: int) -> None:
    setup = Setup(True, adapters=adapters, row=512, gpu=True, processes=2)
    change = dict(ways_out(setup))["launcher.fsdp=true"]
    whole, parts = (need(shape_of("qwen3-8b-base"), one) for one in (setup, change(setup)))
    assert parts.weights < 0.75 * whole.weights
    assert parts.optimizer == whole.optimizer / 2
    assert "launcher.fsdp=true" not in dict(ways_out(replace(setup, four_bits=True, adapters=8)))


@pytest.mark.parametrize("training", ["train", "tune", "preference", "pretrain"])
def test_every_way_out_is_a_word_that_the_training_has(training: str) -> None:
    words = [
        word for words, _ in ways_out(Setup(True, tokens=8192, row=512), "strong", training) for word in words.split()
    ]
    own = {word for word in words if word.startswith(training)}
    assert {f"{training}.optimizer=adamw8bit"} <= own
    assert bool([word for word in own if "lora" in word]) == (training != "pretrain")
    assert ("strong.gradient_checkpointing=true" in words) == (training != "pretrain")
    others = {"train", "tune", "preference", "pretrain"} - {training}
    assert not [word for word in words if word.partition(".")[0].partition("=")[0] in others]


def launcher(device: Any, **changed: Any) -> dict[str, Any]:
    return {"name": "local", "device": device, "processes": 1, "resources": {}, "gpus": 1, **changed}


def test_the_gpu_is_asked_by_the_drivers_own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in *index*) echo '0, GPU-aa'; echo '1, GPU-bb';; "
        "*) echo 'GPU-aa, NVIDIA A, 81920, 80000'; echo 'GPU-bb, NVIDIA B, 24576, 1000';; esac\n"
    )
    program.chmod(0o755)
    for number in "01":
        (tmp_path / f"nvidia{number}").touch()
    monkeypatch.setattr(devices, "DEVICE_FILES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = ("NVIDIA A", 81920 << 20, 80000 << 20), ("NVIDIA B", 24576 << 20, 1000 << 20)
    assert device_here(launcher("cuda")) == first
    assert device_here(launcher("cuda:1")) == second
    assert device_here(launcher("auto")) == device_here(launcher(["cuda:0", "cuda:1"])) == second, (
        "the one with less room"
    )
    assert device_here(launcher("cuda:2")) is None
    for chosen, name in (("1,0", "NVIDIA B"), ("GPU-b", "NVIDIA B"), ("7", None)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        found = device_here(launcher("cuda"))
        assert (found and found.name) == name
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not devices.used(launcher("auto"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert device_here(launcher("cuda")) is None
    monkeypatch.setattr(device_memory.memory, "free_bytes", lambda: 20 * GIB)  # it changes from one moment to the next
    assert device_here(launcher("cpu")) == device_here(launcher("mps"))
    assert device_here(launcher("mps")) is not None


def test_of_stages_that_run_elsewhere_the_memory_is_what_the_settings_say(w2s_inside: Any) -> None:
    words = ["weak=wordnet-s", "strong=olmo-2-1b", "data=wordnet_living"]
    for name in (["launcher=slurm"], ["launcher=command", "launcher.template={worker}"]):
        plan = w2s_inside("plan", *words, *name).stdout
        assert (
            "the memory of the device is unknown here (launcher.gpu_memory_gb, or launcher.memory_gb of a job without a GPU"
            in plan
        )
        plan = w2s_inside("plan", *words, *name, "launcher.gpu_memory_gb=16").stdout
        assert re.search(
            r"Caution: student, ceiling \(olmo-2-1b\) need about .*, and its GPU \(launcher\.gpu_memory_gb\) has 16 of 16 GiB",
            plan,
        )
        assert "launcher.offload_optimizer=true" in plan, "an advice for a GPU"
        assert (
            "Caution"
            not in w2s_inside("plan", *words, *name, "launcher.gpu_memory_gb=80").stdout.split("memory, GiB")[0]
        )


def test_stages_of_a_cluster_are_compared_with_the_device_of_their_own_job(w2s_inside: Any) -> None:
    words = ["weak=wordnet-s", "strong=olmo-2-1b", "data=wordnet_living", "launcher=slurm", "launcher.gpu_memory_gb=80"]
    plan = w2s_inside(
        "plan",
        *words,
        "launcher.resources.ceiling={gpus: 0, memory_gb: 12}",
        "launcher.resources.weak.gpu_memory_gb=24",
    ).stdout
    (line,) = [line for line in plan.split("memory, GiB")[0].splitlines() if line.startswith("Caution: ")]
    assert "Caution: ceiling (olmo-2-1b) needs about" in line
    assert "its job (launcher.resources.ceiling.memory_gb) has 12 of 12 GiB" in line
    assert "launcher.offload_optimizer" not in line
    assert re.search(r"weak.*: its GPU \(launcher\.resources\.weak\.gpu_memory_gb\) has 24 of 24 GiB free", plan)


def test_with_weights_in_parts_a_process_has_its_part_one_layer_and_the_embeddings() -> None:
    shape = shape_of("llama-3.1-8b")
    alone = Setup(True, precision="bf16", row=512, gpu=True, checkpointing=True)
    whole, parts = need(shape, alone), need(shape, replace(alone, processes=4, in_parts=True))
    assert parts.gradients == whole.gradients / 4
    assert parts.optimizer == whole.optimizer / 4
    learned = 4 * (shape.parameters - shape.output)
    assert learned / 4 < parts.weights < learned * 0.45
    on_cpu = need(shape, replace(alone, processes=4, in_parts=True, gpu=False))
    assert learned < on_cpu.weights + on_cpu.gradients + on_cpu.activations, (
        "the first process has all of it at the end"
    )
    assert need(shape, replace(alone, processes=4)) == whole  # only the update is divided
    eight = [need(shape, replace(alone, processes=count, in_parts=True)).total for count in (2, 4, 8)]
    assert eight == sorted(eight, reverse=True)


def test_a_model_larger_than_a_device_fits_in_parts() -> None:
    """Llama 3.1 70B on GPUs of 80 GiB: all weights on 32 with gradient checkpointing, adapters on a base in bf16 on 4."""
    shape = replace(shape_of("llama-3.1-70b"), in_bf16=True)
    options: dict[str, Any] = {"precision": "bf16", "row": 512, "gpu": True, "checkpointing": True, "pretrained": True}
    full = Setup(True, **options, processes=32, in_parts=True)
    assert need(shape, full).total < 80 * GIB < need(shape, replace(full, processes=8)).total
    adapters = replace(full, adapters=8, processes=4)
    assert need(shape, adapters).total < 80 * GIB < need(shape, replace(adapters, processes=1, in_parts=False)).total


def test_a_plan_says_before_a_run_what_does_not_fit_and_what_would(
    w2s_inside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_memory.memory, "free_bytes", lambda: 20 * GIB)
    monkeypatch.setattr(device_memory.memory, "machine_bytes", lambda: 24 * GIB)
    words = ["weak=wordnet-s", "strong=olmo-2-1b", "data=wordnet_living", "launcher.device=cpu"]
    said = w2s_inside("plan", *words).stdout
    assert "Caution: student, ceiling (olmo-2-1b) need about" in said
    assert "this machine has 20 of 24 GiB free. What would fit: " in said
    assert "train=lora (about" in said
    said = w2s_inside("plan", *words, "train=lora").stdout
    assert "Caution" not in said.split("memory, GiB")[0]
    assert "checkpoints in fp32 are assumed for olmo-2-1b; in bf16 they take less" in said


def gpus(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, free: int) -> None:
    """So many GPUs with `free` GiB of 80, as the driver's program tells them."""
    uuids = [f"GPU-{number}" for number in range(count)]
    numbers = "; ".join(f"echo '{number}, {uuid}'" for number, uuid in enumerate(uuids))
    sizes = "; ".join(f"echo '{uuid}, NVIDIA A, {80 * 1024}, {free * 1024}'" for uuid in uuids)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncase $1 in *index*) {numbers};; *) {sizes};; esac\n")
    program.chmod(0o755)
    for number in range(count):
        (folder / f"nvidia{number}").touch()
    monkeypatch.setattr(devices, "DEVICE_FILES", folder)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_training_that_fits_in_parts_on_the_gpus_that_there_are_is_told_the_word_for_it(
    w2s_inside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["weak=wordnet-s", "strong=llama-3.2-3b", "data=wordnet_living"]
    gpus(tmp_path, monkeypatch, 4, 50)
    said = w2s_inside("plan", *words).stdout
    line = next(line for line in said.splitlines() if line.startswith("Caution: student, ceiling (llama-3.2-3b) need "))
    word = re.search(
        r"launcher\.resources\.student='\{processes: (\d), fsdp: true\}' launcher\.resources\.ceiling='", line
    )
    assert word is not None
    assert "Caution" not in w2s_inside("plan", *words, *two_words(int(word[1]))).stdout.split("memory, GiB")[0]
    assert "Caution" in w2s_inside("plan", *words, *two_words(int(word[1]) - 1)).stdout.split("memory, GiB")[0]
    said = w2s_inside("plan", *words, *two_words(int(word[1]))).stdout
    assert f"student, ceiling, student_test, ceiling_test: of one of {word[1]} processes, which have a GPU each" in said
    gpus(tmp_path, monkeypatch, 1, 50)
    assert "launcher.resources" not in w2s_inside("plan", *words).stdout


def two_words(processes: int) -> list[str]:
    """The words of a student and a ceiling in parts."""
    parts = f"{{processes: {processes}, fsdp: {'true' if processes > 1 else 'null'}}}"
    return [f"launcher.resources.{role}={parts}" for role in ("student", "ceiling")]


@pytest.mark.parametrize(
    "changed", [{"gpu": False}, {"trains": False}, {"probe": True}, {"four_bits": True}, {"optimizer": "adamw8bit"}]
)
def test_what_cannot_lie_in_parts_is_not_spread_out(changed: dict[str, Any]) -> None:
    setup = Setup(True, gpu=True)
    assert spread_out(setup, 4, lambda one: one.processes == 3) == replace(setup, processes=3, in_parts=True)
    assert spread_out(setup, 2, lambda one: one.processes == 3) is None
    assert spread_out(replace(setup, **changed), 4, lambda one: True) is None
