"""Parts of `pretrain_tiny.py`: tokenizer, training text, models, training loop, scores."""
