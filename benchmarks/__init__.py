"""What this project costs, measured on the machine at hand: `python -m benchmarks`, or one by name.

Each figure stands beside that of something plain, taken in the same run, so that a slow or busy machine slows both.
Nothing here asserts a time.
"""
