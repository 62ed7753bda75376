from dab_detr.defaults import schedule_node

lr_multiplier_50ep = schedule_node(drop=40, epochs=50)
lr_multiplier_12ep = schedule_node(drop=11, epochs=12)
lr_multiplier_24ep = schedule_node(drop=20, epochs=24)
lr_multiplier_36ep = schedule_node(drop=30, epochs=36)
