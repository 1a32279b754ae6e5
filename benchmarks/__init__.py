"""Benchmarks: a file answers one question, its figure beside a peer's or a plain twin's of the same run.

`python -m benchmarks` asks all and prints one table; `python -m benchmarks.find` asks one.
"""
