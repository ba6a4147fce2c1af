"""Step-wise training examples: trajectories replayed, drafted by a recipe, filtered, written."""
