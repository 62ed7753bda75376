"""Settings that Detectron2's tools and ours read."""

EPOCH = 7392  # COCO's 118,287 images in full batches of 16

train = dict(
    output_dir="output",
    init_checkpoint="detectron2://ImageNetPretrained/torchvision/R-50.pkl",
    init_partially=False,  # True: what does not fit in init_checkpoint starts anew; else only classes may differ
    max_iter=50 * EPOCH,
    eval_period=EPOCH,
    log_period=20,
    writers=[],  # "wandb", "mlflow": beside metrics.json and TensorBoard
    preview=dict(num_images=8, score_threshold=0.3),  # pictures of dataset.val with ground truth and predictions
    checkpointer=dict(period=EPOCH, max_to_keep=3),
    device="cuda",
    seed=42,
    amp=dict(enabled=False),  # fp16, on a GPU; for bf16 see model.precision
    compile=False,  # backbone, neck, encoder and decoder, by torch.compile
    optimized_evaluation=True,  # by a copy of the model that is faster and rounds differently
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
)
