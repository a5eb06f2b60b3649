"""The settings of a launcher on the CPU of this machine, as far as the sharing of the machine reads them."""

LAUNCHER = {
    "name": "local",
    "jobs": None,
    "threads": None,
    "device": "cpu",
    "processes": 1,
    "fsdp": False,
    "resources": {},
    "micro_tokens": 8192,
    "eval_tokens": 32768,
    "offload_optimizer": False,
}
