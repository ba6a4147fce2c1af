"""The whole main job as stages that skip what is done and resume what is not.

`load.load_settings` reads a configuration, `run.Pipeline` plans and runs it, `students` opens and
evaluates a trained student as it was trained, `smoke` makes a pipeline small enough for a dry run.
"""
