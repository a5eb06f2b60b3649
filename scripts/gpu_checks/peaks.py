"""The share of a card's peak (model FLOPs utilisation): the operations of the mathematics on real tokens, over the time and the peak.

* Operations of a token: 6·N in a training of all weights, 4·N in one of adapters (the gradients of the frozen weights are left out), 2·N in
  a forward pass; N is the number of weights in the layers' matrices, without embeddings and output layer (Kaplan et al. 2020, section 2.1;
  Chowdhery et al. 2022, appendix B, who add attention's own products, which are left out here). So the shares are on the low side.
* Work on padding, or work avoided, does not change the count.
* The peak is the dense bf16 rate of the card's datasheet where `DATASHEET` has the card, else that of a large product, measured.
"""

import re

from scripts.gpu_checks.settings import Settings

FORWARD = 2  # FLOPs per token and weight
# TFLOP/s, dense bf16, of NVIDIA's datasheets; the first entry counts whose words are all in the card's name
DATASHEET = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "GH200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A30": 165.0,
    "A40": 149.7,
    "RTX 4090": 165.2,
}
OTHERS = {"Laptop", "MIG"}  # slower cards with the name of another, and slices of a card


def datasheet(card: str) -> float | None:
    """FLOP/s by the datasheet of the card of this name; None: not in the table."""
    words = set(re.split(r"[^A-Za-z0-9]+", card))
    if words & OTHERS:
        return None
    return next((rate * 1e12 for name, rate in DATASHEET.items() if words >= set(name.split())), None)


def peak(settings: Settings) -> tuple[float, str]:
    """FLOP/s in bf16 and where the number comes from."""
    import torch

    from scripts.benchmarks.programs.peak import work

    stated = datasheet(torch.cuda.get_device_name()) if settings.device.startswith("cuda") else None
    if stated is not None:
        return stated, f"datasheet: {stated / 1e12:.0f} TFLOP/s"
    measured = work({"device": settings.device, "size": settings.matmul, "tries": 3, "products": 5})["peak_bf16"]
    return measured, f"measured by a matmul: {measured / 1e12:.3g} TFLOP/s"
