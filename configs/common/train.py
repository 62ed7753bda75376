from dab_detr.defaults import EPOCH, train_node

train = train_node()  # every setting with its default is in dab_detr/defaults.py
