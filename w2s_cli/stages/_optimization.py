"""The fields of train.* and tune.* that say how weights are updated; both kinds of training have them in their params."""

OPTIMIZATION = (
    "schedule",
    "warmup",
    "optimizer",
    "betas",
    "weight_decay",
    "max_grad_norm",
)  # of config.trainings.Optimization
