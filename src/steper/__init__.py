"""steper: distil a multi-step retrieval-augmented LM into a small one, step by step."""
