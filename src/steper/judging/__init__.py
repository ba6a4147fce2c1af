"""A language model's preference between two runs, ability by ability."""
