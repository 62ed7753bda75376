from detectron2.config import LazyCall as L

from dab_detr.engine.optimizer import ClippedAdamW, parameter_groups

# whoever trains sets params.model
optimizer = L(ClippedAdamW)(
    params=L(parameter_groups)(lr="${..lr}", lr_factors={"backbone": 0.1}),
    lr=1e-4,
    betas=[0.9, 0.999],
    weight_decay=1e-4,
    max_norm=0.1,
)
