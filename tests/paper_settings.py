"""The papers' experiments, written from the papers' cards and not from configs/experiment: for tests/command/test_reproduce.py.

Beside each value stands where it comes from: the number of the method's card (01 Burns et al., 02 EleutherAI, 04 debate, 07 deception,
20 sandbox) or of the notes on public code (2.1 W2SG reference code, 2.2 EleutherAI's, 2.4 the GPT-2 replication), and its words.
For eleuther_pgr and sandbox_2026, whose trainings have to agree in every field, it is the published code:
* EleutherAI/w2s @a929af0 (2024-06-19), run as its README.md, run_monday.py, run_wednesday.py and allruns.sh say;
* architectfromthefuture/automated-w2s-research @f15ff63d (2026), w2s_research/core/train.py called by ideas/vanilla_w2s/run.py.
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
LOGCONF_ELEUTHER = (  # loss.py, LogConfidenceLossConfig: weight 0.5, 100 warm-up steps of 469; prior 0.5 for micro-batches of one row
    "logconf",
    {"alpha": 0.5, "warmup": 0.21, "ramp": "linear", "share": "half", "balance": False, "center": None},
)

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
        "train": {
            "mode": "lora",  # sft_config.py:32, disable_lora = False
            "lora": {
                "targets": "all-linear",  # model.py, DEFAULT_LORA_MODULES: gate, down, up, q, k, v, o: all of Llama's and Qwen's
                "r": 8, "alpha": 8, "rslora": False, "dropout": 0.0,  # model.py, LoraConfig(target_modules=…): peft's defaults
            },
            "labels": "soft",  # run.py, add_column("labels", weak_train_preds_ds["soft_pred"])
            "sharpening": None,
            "head": None,  # model.py, AutoModelForSequenceClassification
            "batch_size": 32,  # sft_config.py:28
            "epochs": 3,  # :18
            "optimizer": "adamw",  # run.py, TrainingArguments: its default optim
            "betas": [0.9, 0.95],  # run.py, adam_beta2=0.95
            "weight_decay": 0.1,  # sft_config.py:38
            "max_grad_norm": 1.0,  # TrainingArguments: its default
            "schedule": "cosine",  # :33
            "warmup": 0.085,  # :34, n_warmup_steps = 40 of 5000 · 3 / 32 = 469
            "max_length": 8192,  # sft.py, tokenizer(truncation=True): Llama 3's context; no text is as long
            "stopping": {"metric": "auroc", "every": 25, "patience": None},  # :35 and :42, val_auroc; load_best_model_at_end
            "precision": "bf16",  # model.py, torch_dtype="auto": both checkpoints are bf16, with adapters and head in fp32
        },
        "lr": {"Qwen/Qwen1.5-0.5B": 5e-4, "meta-llama/Meta-Llama-3-8B": 8e-5},  # sft_config.py:39-40
        "limits": {"weak_train": 5000, "strong_train": 5000, "weak_val": 1000, "strong_val": 1000, "test": 5000},  # :19-21; run.py halves
        "data": {  # ds_registry.py, without the four "saturated" sets
            "anli_r2", "cola", "dream", "ethics_utilitarianism", "mc_taco", "hellaswag", "multirc", "paws", "piqa", "quail", "quartz",
            "social_i_qa", "sst2", "wic", "twitter_sentiment", "sciq", "sciq_with_support", "anthropic_hh", "cosmos_qa", "boolq",
            "amazon_polarity",
        },
        "balanced": True,  # ds_registry.py, balance(): "Undersample balance to 50/50"
        "student_losses": [
            XENT,
            LOGCONF_ELEUTHER,
            ("entropy_detached", {"alpha": 0.5, "warmup": 0.21}),  # loss.py, LogEntropyLossConfig; target_preds.detach()
            ("window", {"radius": "midweak"}),  # --loss window --radius midweak
        ],
        "losses_of": {  # run_monday.py: no --loss with --s2s_iters, --probe_relabel and --probe_filter, and the default is logconf (:44)
            "strong_to_strong": [LOGCONF_ELEUTHER],
            "selection": [LOGCONF_ELEUTHER],
        },
        "methods": {"naive", "strong_to_strong", "selection"},
        "rounds": 2,  # --s2s_iters 2
        "rules": [  # sft_config.py:50, contamination = 0.1
            ("knn", {"action": "filter", "k": 50, "contamination": 0.1, "itself": True}),  # probe.py:20; cdist(acts, self.acts).topk
            ("knn", {"action": "relabel", "k": 50, "contamination": 0.1, "itself": True}),
            ("logistic", {"action": "filter", "l2": 0.001, "contamination": 0.1, "iterations": 10000}),  # probe.py:24; logistic.py
            ("logistic", {"action": "relabel", "l2": 0.001, "contamination": 0.1, "iterations": 10000}),
            ("topofilter", {"action": "filter", "k_component": 50, "k_zeta": 50, "contamination": 0.1}),  # probe.py:28-29
        ],
        "exact": True,
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
        "data_seed": 0,  # card 20: the halves are files (train_label.jsonl, train_unlabel.jsonl), the same for every seed
        "train": {
            "mode": "lora",
            "lora": {  # train.py, get_peft_model: target_modules (all seven), use_rslora=True, bias="none"; config.py, RunConfig
                "targets": "all-linear", "r": 32, "alpha": 32, "rslora": True, "dropout": 0.0,
            },
            "labels": "hard",  # data.py, base_format_example: the label of the largest soft_label
            "sharpening": None,
            "stopping": None,  # train.py, eval_strategy="no"; the last checkpoint is evaluated
            "batch_size": 32,  # config.py, RunConfig
            "epochs": 5,  # BASELINE_EPOCHS and RunConfig
            "optimizer": "adamw",  # adamw_8bit
            "betas": [0.9, 0.95],  # train.py, adam_beta2=0.95
            "weight_decay": 0.01,  # RunConfig and train_model
            "max_grad_norm": 1.0,  # TrainingArguments: its default
            "schedule": "linear",  # RunConfig, lr_schedule
            "warmup": 0.1,  # RunConfig, warmup_ratio
            "max_length": 8192,  # RunConfig, max_ctx
            "truncation": "right",  # data.py, input_ids[:available_for_input]
            "precision": "bf16",  # RunConfig
        },
        "lr": {"Qwen/Qwen1.5-0.5B-Chat": 1e-4, "Qwen/Qwen3-4B-Base": 1e-4},  # RunConfig
        "data": {"sandbox_chat", "sandbox_math", "sandbox_code"},
        # data.py, COMPARISON_LABEL_TOKENS and BINARY_LABEL_TOKENS, "\nLabel:"; train.py: adapters only, so lm_head is frozen;
        # data.py, labels = [-100] * prompt_length + label_ids + eos_id
        "heads": {
            data: {"tokens": tokens, "suffix": "\nLabel:", "frozen": True, "next_token": True}
            for data, tokens in {"sandbox_chat": ["A", "B"], "sandbox_math": ["False", "True"], "sandbox_code": ["False", "True"]}.items()
        },
        "student_losses": [XENT],  # RunConfig, loss: SFTTrainer's own
        "methods": {"naive", "selection", "baselines"},
        "rules": [("confidence", {"threshold": 0.75, "share": None})],  # train_only_on_confident_labels/run.py, DEFAULT_HIGH_THRESHOLD
        "seeds": {"naive": range(42, 47), "selection": range(42, 47), "baselines": range(42, 58)},  # "16 seeds (42..57)", "over 5 seeds"
        "exact": True,
        "jobs": 3 * (5 + 5 + 16),
    },
}  # fmt: skip

# The experiments on texts: what their cards say of generation, selection and training, found again in the stages of the plan.
TEXTS: dict[str, dict[str, Any]] = {
    "w2s_reasoning": {
        "jobs": 3 * 2 + 1,  # card 03: three weak models on GSM8K by DPO and ORPO, Gemma-2B on MATH
        "data": {"gsm8k", "math"},
        "methods": {"w2s_reasoning_pairs"},
        "strong": {"llama-2-70b"},  # "Strong Llama2-70B"
        "objectives": {"dpo", "orpo"},
        "params": {
            "samples": {"samples": 10, "temperature": 1.0},  # "Sample n=10 solutions/question from M_plus at T=1.0"
            "icl_texts": {"temperature": 0.0},  # "few-shot M on train_2 greedily"
            "pairs": {"rule": {"low": 0.6, "high": 0.8, "most": 1}},  # "tau = 0.6 / 0.8", "GSM8K 1 pair"
            "student": {"mode": "lora"},  # "LoRA on q,k,v,o,gate,up,down"
        },
    },
    "w2sr": {
        "jobs": 2,
        "data": {"math"},
        "methods": {"w2sr"},
        "strong": {"qwen2.5-math-7b", "qwen2.5-7b"},
        "objectives": set(),
        "params": {
            "weak_texts": {
                "temperature": 0.6,
                "top_p": 0.95,
                "max_new_tokens": 4096,
            },  # card 11: "T 0.6, top_p 0.95, 4096"
            "student": {"mode": "full", "batch_size": 128, "epochs": 10, "schedule": "cosine", "warmup": 0.1},
        },
    },
    "delta_learning": {
        "jobs": 1,
        "data": {"gsm8k"},
        "methods": {"delta_learning"},
        "strong": {"tulu-3-8b-sft"},
        "objectives": {"dpo_norm"},
        "params": {
            "better_texts": {"temperature": 0.0, "max_new_tokens": 2048},  # card 09: "Greedy (T=0, max 2048 tokens)"
            "student": {"lr": 5e-8, "epochs": 1, "batch_size": 32, "warmup": 0.03, "weight_decay": 0.0},
            "reversed_pairs": {"rule": {"order": "reversed"}},
            "tied_pairs": {"rule": {"order": "tied"}},
        },
    },
    "spin": {
        "jobs": 1,
        "data": {"gsm8k"},
        "methods": {"spin"},
        "strong": {"zephyr-7b-sft"},
        "objectives": {"spin"},
        "params": {
            "round[0]": {"lr": 5e-7, "epochs": 6, "schedule": "linear", "warmup": 0.1, "batch_size": 64},  # card 13
            "round[3]": {"lr": 5e-7, "epochs": 6},
        },
    },
    "guiding": {
        "jobs": 3,
        "data": {"math"},
        "methods": {"guiding"},
        "strong": {"llama-3-8b"},
        "objectives": set(),
        "params": {
            "student": {
                "lr": 2e-5,
                "schedule": "cosine",
                "warmup": 0.1,
                "epochs": 2,
                "batch_size": 16,
                "max_length": 2048,
            },
            "parts": {"rule": {"rate": 0.1}},  # card 10: "(80,10)", "(50,10)", "(20,10)"
        },
    },
    "lbt": {
        "jobs": 1,
        "data": {"math"},
        "methods": {"lbt"},
        "strong": {"llama-3-8b"},
        "objectives": {"dpo"},
        "params": {
            "test_samples": {"samples": 256},  # card 12: "n TR-TA (256 in the math configs)"
            "test_exam": {
                "questions": 3,
                "samples": 3,
                "temperature": 0.7,
                "top_k": 20,
            },  # "3 exam questions x 3 repetitions, T 0.7, top-k 20"
        },
    },
}
