from detectron2.config import LazyCall as L
from fvcore.common.param_scheduler import MultiStepParamScheduler

# in epochs; with another train.max_iter the drop stays at four fifths of the training
lr_multiplier_50ep = L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[40], num_updates=50)
lr_multiplier_12ep = L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[11], num_updates=12)
lr_multiplier_24ep = L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[20], num_updates=24)
lr_multiplier_36ep = L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[30], num_updates=36)
