"""The whole main job as stages that skip what is done and resume what is not.

`shipped_recipes` finds a configuration, `load.load_settings` reads it, `pipeline.Pipeline` plans
and runs it.
"""
