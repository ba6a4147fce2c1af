"""Studies: pipelines that share what is equal, and the tables, plots and page that they end in.

`study_file` reads one, `cells` finds what its cells share, `study.Study` plans it and runs it.
"""
