from dab_detr.defaults import dataloader_node, dataset_node

dataset = dataset_node()
dataloader = dataloader_node()
