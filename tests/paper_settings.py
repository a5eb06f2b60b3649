"""The papers' experiments, written from the papers' cards and not from configs/experiment: for tests/command/test_reproduce.py.

Beside each value stands where it comes from: the number of the method's card (01 Burns et al., 02 EleutherAI, 04 debate, 07 deception,
20 sandbox) or of the notes on public code (2.1 W2SG reference code, 2.2 EleutherAI's, 2.4 the GPT-2 replication), and its words.
"""

from typing import Any

REFERENCE_CODE = {  # card 01, "Hyperparameters of the open repo"
    "mode": "full",
    "batch_size": 32,  # "batch size / micro batch | 32"
    "epochs": 2,  # "epochs | 2 (both weak and student)"
    "optimizer": "adam",  # "Adam (torch defaults, no weight decay)"
    "betas": [0.9, 0.999],
    "weight_decay": 0.0,
    "max_grad_norm": None,  # peers 2.1: "no clipping"
    "schedule": "cosine",  # "cosine annealing to 0 …, no warm-up"
    "warmup": 0.0,
    "max_length": 1024,  # "max_ctx | 1024 tokens"
    "head": None,  # "bias-free Linear(hidden, 2), zero-initialised"
    "stopping": None,
}
GPT2_LR = {"gpt2": 5e-5, "gpt2-medium": 5e-5, "gpt2-large": 1e-5, "gpt2-xl": 1e-5}  # card 01, "lr | gpt2 5e-5, …"
QWEN_LR = {"Qwen/Qwen-1_8B": 1e-5, "Qwen/Qwen-7B": 1e-5, "Qwen/Qwen-14B": 1e-5}  # "… Qwen-1.8B/7B/14B/72B 1e-5"
HALVES = {
    "weak_train": 10000,
    "strong_train": 10000,
    "test": 10000,
}  # "n_docs / n_test_docs | 20000 / 10000", split in half
XENT = ("xent", {})
LOGCONF_CODE = (
    "logconf",
    {"alpha": 0.5, "warmup": 0.1, "ramp": "jump"},
)  # card 01, "logconf": aux_coef 0.5, warmup_frac 0.1, the jump
LOGCONF_PAPER = (
    "logconf",
    {"alpha": 0.75, "warmup": 0.2, "ramp": "linear", "share": "half"},
)  # card 01, B: a_max 0.75, first 20 %, half

PAPER: dict[str, dict[str, Any]] = {
    "reference_plots": {
        "train": REFERENCE_CODE,
        "lr": {**GPT2_LR, **QWEN_LR},
        "limits": HALVES,
        "data": {"amazon_polarity", "sciq", "boolq", "cosmos_qa", "anthropic_hh"},  # card 01, "datasets"
        "student_losses": [XENT, LOGCONF_CODE],  # the two of the plots
        "methods": {"naive"},
        "jobs": 28 * 5 * 2,  # card 01, "sweep | … every pair i<=j": 7 models have 28
    },
    "gpt2_replication": {
        "train": REFERENCE_CODE,  # peers 2.4: "OAI settings"
        "lr": GPT2_LR,  # "GPT-2 family"
        "limits": HALVES,
        "data": {"sciq", "boolq"},
        "student_losses": [XENT, LOGCONF_CODE],  # "the logconf losses come from code that still has B6"
        "methods": {"naive"},
        "jobs": 10 * 2 * 2 * 3,  # "n=3 seeds"
    },
    "burns_nlp": {
        "train": {  # card 01, "Settings in the paper"
            **REFERENCE_CODE,
            "stopping": {"metric": "accuracy", "every": 25, "patience": None},  # "early stopping on accuracy w.r.t. weak labels"
        },
        "lr": {"gpt2": 5e-5, **QWEN_LR},
        "data": {  # "The 22", without the names of tasks
            "boolq", "cosmos_qa", "dream", "ethics_justice", "ethics_deontology", "ethics_virtue", "ethics_utilitarianism", "anli_r2",
            "cola", "sst2", "hellaswag", "mc_taco", "openbookqa", "paws", "quail", "piqa", "quartz", "sciq", "social_i_qa", "multirc",
            "wic", "twitter_sentiment",
        },
        "balanced": True,  # "22 public classification sets turned into balanced binary tasks"
        "student_losses": [XENT, LOGCONF_PAPER],
        "methods": {"naive", "bootstrapping"},
        "ladder": ["qwen-1.8b", "qwen-7b"],  # D: "Paper uses 3 hops (two intermediate sizes)"
        "jobs": 22 * 3,
    },
    "eleuther_pgr": {
        "train": {  # card 02, "Hyperparameters"
            "mode": "lora",
            "lora": {"r": 8, "alpha": 8},  # "LoRA r=8 (peft default alpha 8)"
            "batch_size": 32,
            "epochs": 3,
            "optimizer": "adamw",
            "betas": [0.9, 0.95],  # "AdamW beta2 0.95, weight decay 0.1"
            "weight_decay": 0.1,
            "max_grad_norm": 1.0,  # peers 2.2: "clip 1.0"
            "schedule": "cosine",
            "warmup": 0.085,  # "40 warm-up steps" of 5000 · 3 / 32 = 469
            "stopping": {"metric": "auroc", "every": 25, "patience": None},  # "eval+save every 25 steps, keep best by val_auroc"
            "precision": "bf16",
        },
        "lr": {"Qwen/Qwen1.5-0.5B": 5e-4, "meta-llama/Meta-Llama-3-8B": 8e-5},  # "lr weak 5e-4, strong 8e-5"
        "limits": {"weak_train": 5000, "strong_train": 5000, "weak_val": 1000, "strong_val": 1000, "test": 5000},  # "n_train 10000"
        "data": {  # the table's rows without the four "saturated" ones
            "anli_r2", "cola", "dream", "ethics_utilitarianism", "mc_taco", "hellaswag", "multirc", "paws", "piqa", "quail", "quartz",
            "social_i_qa", "sst2", "wic", "twitter_sentiment", "sciq", "sciq_with_support", "anthropic_hh", "cosmos_qa", "boolq",
            "amazon_polarity",
        },
        "balanced": True,  # "undersample to 50/50"
        "student_losses": [
            XENT,
            ("logconf", {"alpha": 0.5, "ramp": "linear", "share": "labels"}),  # "aux 0.5, warmup 100 steps"
            ("entropy_detached", {"alpha": 0.5}),  # "`entropy_detached` (as coded)"
            ("window", {"radius": "midweak"}),  # "`midweak` = median |y-0.5| over the train weak labels"
        ],
        "methods": {"naive", "strong_to_strong", "selection"},
        "rules": [
            ("knn", {"action": "filter", "k": 50, "contamination": 0.1}),  # "k=50", "contamination=10 %"
            ("knn", {"action": "relabel", "k": 50}),
            ("logistic", {"action": "filter", "l2": 0.01, "contamination": 0.1}),  # "1e-2 in the post"
            ("logistic", {"action": "relabel", "l2": 0.01}),
            ("topofilter", {"k_component": 50, "k_zeta": 50, "contamination": 0.1}),  # "k_cc=50", "k_zeta=50"
        ],
        "jobs": 21 * (4 + 1 + 5),
    },
    "debate_baselines": {
        "train": REFERENCE_CODE,  # card 04: "lr, epochs, batch, …: not found (start: OpenAI-repo defaults lr 1e-5, batch 32, 2 epochs)"
        "lr": {"Qwen/Qwen-7B": 1e-5, "Qwen/Qwen-14B": 1e-5},  # "Weak Qwen-7B, strong … Qwen-14B"
        "data": {"sciq", "boolq", "cosmos_qa", "anthropic_hh"},
        "student_losses": [XENT, LOGCONF_CODE, ("product", {"alpha": 1.0, "beta": 1.0})],  # "of the OpenAI repo"
        "methods": {"naive"},
        "jobs": 4 * 3,
    },
    "deception_rewards": {
        "train": {  # card 07: "RM: batch 32, lr 1e-5 all sizes, 1 epoch, ctx 512, cosine, BCE"
            "mode": "full",
            "batch_size": 32,
            "epochs": 1,
            "schedule": "cosine",
            "labels": "soft",
        },
        "context": 512,
        "lr": dict.fromkeys(  # "GPT-2 base/medium/large/xl, OPT 125M..6.7B, Mistral-7B"
            ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "facebook/opt-125m", "facebook/opt-350m", "facebook/opt-1.3b",
             "facebook/opt-2.7b", "facebook/opt-6.7b", "mistralai/Mistral-7B-v0.1"],
            1e-5,
        ),
        "limits": {"weak_train": 4000, "strong_train": 4000, "test": 4000},  # "4000 truth train, 4000 w2s, 4000 test"
        "data": {"hh_harmless"},
        "student_losses": [XENT],
        "methods": {"naive", "selection", "bootstrapping"},
        "rules": [("confidence", {"threshold": 0.75})],  # "keep weak labels with confidence >= 0.75"
        "ladder": ["gpt2-large", "opt-2.7b"],  # "weak -> intermediate (e.g. gpt2-large -> opt-2.7b) -> strong"
        "jobs": 45 + 6 + 2,
    },
    "sandbox_2026": {
        "train": {  # card 20, "Protocol"
            "mode": "lora",
            "lora": {"r": 32, "alpha": 32},
            "batch_size": 32,
            "epochs": 5,  # "5 epochs for all stages"
            "optimizer": "adamw",
            "weight_decay": 0.01,
            "schedule": "linear",
            "warmup": 0.1,
            "labels": "hard",  # "Hard weak labels by default"
            "precision": "bf16",
        },
        "lr": {"Qwen/Qwen1.5-0.5B-Chat": 1e-4, "Qwen/Qwen3-4B-Base": 1e-4},
        "data": {"sandbox_chat", "sandbox_math", "sandbox_code"},
        "heads": {"sandbox_chat": ["A", "B"], "sandbox_math": ["False", "True"], "sandbox_code": ["False", "True"]},
        "student_losses": [XENT],
        "methods": {"naive", "selection", "baselines"},
        "rules": [("confidence", {"threshold": 0.75})],
        "seeds": {"naive": range(42, 47), "selection": range(42, 47), "baselines": range(42, 58)},  # "16 seeds (42..57)", "over 5 seeds"
        "jobs": 3 * (5 + 5 + 16),
    },
}  # fmt: skip
