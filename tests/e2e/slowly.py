"""A series function of the user's own that takes as long as a test wants, for a config folder's slowly.py."""

SLOWLY = """
import time
from render.functions.custom import *

@function("slowly", group="Tests", params=[SERIES, Param("seconds", "float", required=True)])
def slowly(context, series, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        context.check()
        time.sleep(0.01)
    return series
"""
