"""Training a student on step examples: settings, token trees, the objective, transformers' Trainer.

`steper.training.job.train` does it all; `train_settings` and `tree` need no torch.
"""
