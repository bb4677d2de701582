"""The engine beside its peers: `python -m benchmarks engine [--rounds N] [--seconds S] [row ...]`.

`rows` says what is measured and what is to be reached, `../peers/` holds the programs that are measured, `../loads/`
those that keep them busy. All of a row's servers run at once, on one core, and are measured in turns, from another core.
"""
