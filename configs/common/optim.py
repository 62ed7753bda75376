from dab_detr.defaults import optimizer_node

optimizer = optimizer_node()
