"""Settings that Detectron2's tools and ours read."""

EPOCH = 7392  # COCO's 118,287 images in full batches of 16

train = dict(
    output_dir="output",
    init_checkpoint="detectron2://ImageNetPretrained/torchvision/R-50.pkl",
    init_partially=False,  # True: what does not fit in init_checkpoint starts anew; else only classes may differ
    max_iter=50 * EPOCH,
    epochs=None,  # in place of max_iter; evaluations and checkpoints are then one an epoch of the data in use
    warmup_iters=0,  # in which the learning rate rises from a thousandth
    eval_period=EPOCH,
    validation_loss=False,  # evaluations find validation/total_loss and its parts too
    ema=dict(enabled=False, decay=0.9998),  # a moving average of the weights, saved with them, evaluated as ema/bbox/AP
    best=dict(metric="bbox/AP", mode="max"),  # whose best value makes model_best.pth; null for none
    early_stopping=dict(patience=0, metric="bbox/AP", mode="max", min_delta=0.0),  # in evaluations; 0 for never
    log_period=20,
    writers=[],  # "wandb", "mlflow": beside metrics.json and TensorBoard
    preview=dict(num_images=8, score_threshold=0.3),  # pictures of dataset.val with ground truth and predictions
    checkpointer=dict(period=EPOCH, max_to_keep=3),
    device="cuda",
    seed=42,
    accumulate=1,  # micro-batches that each process cuts its share of dataloader.train.total_batch_size into
    amp=dict(enabled=False),  # fp16, on a GPU; for bf16 see model.precision
    compile=False,  # backbone, neck, encoder and decoder, by torch.compile
    optimized_evaluation=True,  # by a copy of the model that is faster and rounds differently
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
)
