"""The matmul peak of this machine: the best of several square products, in operations a CPU second (on a GPU: a second).

In fp32 by whichever library is faster where both are exact, as w2s does.
"""

import time
from typing import Any

from scripts.benchmarks.programs.answer import cpu_seconds, main


def work(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    from w2s_cli.training.device import pick_device

    device, size = job["device"], job["size"]
    speeds = {"peak_fp32": 0.0, "peak_bf16": 0.0}
    for name, dtype, exact in (
        ("fp32", torch.float32, True),  # MKL
        ("fp32", torch.float32, False),
        ("bf16", torch.bfloat16, False),
    ):
        pick_device({"device": device}, "fp32")
        if exact:
            torch.set_float32_matmul_precision("highest")
        one = torch.randn(size, size, device=device).to(dtype)
        other = torch.randn(size, size, device=device).to(dtype)
        for _ in range(job["tries"]):
            wall, cpu = time.monotonic(), cpu_seconds()
            for _ in range(job["products"]):
                one @ other
            if device == "cuda":
                torch.cuda.synchronize()
            seconds = (time.monotonic() - wall) if device == "cuda" else (cpu_seconds() - cpu)
            speed = 2 * size**3 * job["products"] / max(seconds, 1e-9)
            speeds[f"peak_{name}"] = max(speeds[f"peak_{name}"], speed)
    return speeds


if __name__ == "__main__":
    main(work)
