"""A dry run of a pipeline: everything is made so small that all stages run in minutes."""
