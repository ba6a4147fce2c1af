"""The whole main job as stages that skip what is done and resume what is not.

`load` finds a configuration and reads it, `pipeline.Pipeline` plans it and runs it.
"""
