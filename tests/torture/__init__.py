"""Torture: real receivers, killed, cut from power and starved of space, and what a reader finds afterwards.

Each test runs a few rounds with all the others. `make torture` runs many: PLUMBAGO_TORTURE=short or full.
"""
