"""What other programs call the keys and values of a study."""

from __future__ import annotations

# Each row: their names, and the keys of a study that have this meaning; several where a study's kinds differ.
_KEYS = (
    ("lr learning_rate max_lr base_lr peak_lr initial_lr lr0", "schedule.lr_max schedule.lr"),
    ("min_lr eta_min", "schedule.lr_min schedule.final"),
    ("final_lr end_lr lr_end", "schedule.final range_test.end_lr"),
    ("epoch n_epochs num_epochs nb_epochs max_epochs num_train_epochs train_epochs e", "schedule.epochs"),
    ("warmup warmup_steps warmup_ratio", "schedule.warmup_epochs"),
    ("scheduler lr_scheduler lr_schedule sched", "schedule"),
    ("bs b batch train_batch_size minibatch_size per_device_train_batch_size", "data.batch_size"),
    ("dataset data_set dataset_name", "data.source"),
    ("img_size image_res resolution input_size", "data.image_size"),
    ("val_split valid_split validation_split val_size valid_size val_fraction", "data.holdout"),
    ("max_train_samples limit_train_batches subset", "data.train_limit"),
    ("max_eval_samples max_test_samples limit_val_batches limit_test_batches", "data.test_limit"),
    ("aug augmentation augmentations transforms train_transforms data_aug", "augment.train"),
    ("arch architecture network net backbone model_name", "model.name"),
    ("weights checkpoint init_checkpoint finetune", "model.pretrained"),
    ("channels", "model.width"),
    ("dropout_rate drop_rate drop", "model.dropout"),
    ("optim opt optimiser", "optimizer.name"),
    ("wd decay l2 weightdecay", "optimizer.weight_decay"),
    ("clip grad_clip clip_grad max_grad_norm gradient_clip_val clip_grad_norm", "optimizer.clip_norm"),
    ("accum accum_steps accumulation_steps gradient_accumulation_steps", "optimizer.accumulate"),
    ("accumulate_grad_batches grad_accum", "optimizer.accumulate"),
    ("param_groups parameter_groups", "optimizer.groups"),
    ("loss_fn loss_function objective criterion", "loss.name"),
    ("smoothing ls", "loss.label_smoothing"),
    ("class_weight weight", "loss.class_weights"),
    ("ema swa ema_decay model_ema", "averaging.kind"),
    ("seed random_seed random_state manual_seed n_seeds num_seeds n_runs num_runs repeats s", "seeds"),
    ("amp fp16 bf16 half mixed_precision use_amp dtype", "precision"),
    ("goal threshold target_accuracy", "target"),
    ("inherit inherits inherits_from parent base extend includes include defaults _base_", "extends"),
    ("description title hypothesis comment notes", "question"),
    ("n study_name experiment experiment_name run_name project exp_name", "name"),
    ("variant", "variants"),
    ("sweep gridsearch", "grid"),
    ("reference published", "references"),
)
KEYS = {name: tuple(keys.split()) for names, keys in _KEYS for name in names.split()}

# The same of values: their names without case and separators, and the value here.
_VALUES = (
    ("fp16 half", "float16"),
    ("bf16", "bfloat16"),
    ("fp32 full single", "float32"),
    ("amp mixed", "auto"),
    ("imagenet imagenet1k folder imagefolderdataset", "image_folder"),
    ("huggingface hf dataset", "datasets"),
    ("ce xent crossentropy softmax", "CrossEntropyLoss"),
    ("multistep multisteplr steplr", "step"),
    ("cosineannealinglr cosineannealing sgdr warmrestarts", "cosine"),
    ("linear cyclic cycliclr triangular", "triangle"),
    ("davidnet resnet9 resnet", "custom_resnet"),
    ("dask slurm cluster", "ray"),
    ("multiprocessing joblib parallel", "process"),
)
VALUES = {name: value for names, value in _VALUES for name in names.split()}
