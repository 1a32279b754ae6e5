"""Patterns in a process of their own mean what `re` means, and end when their time is over."""

from __future__ import annotations

import gc
import os
import re
import time
from pathlib import Path

import psutil
import pytest

from render import patterns
from render.errors import ArgumentError
from render.killable import Killable, TookTooLong

NAMES = ["web1.cpu.user", "web1.web1.load", "é.ü", "", "a\nb", 'with "quotes" \\ and \x7f', "x" * 2_000]


@pytest.mark.parametrize("pattern", [r"^(?!web)", r"(\w+)\.\1", r"(?<=\.)cpu", r"(?P<a>e)(?=b)", "(x+x+)+$"])
def test_it_finds_and_replaces_what_re_does(pattern: str) -> None:
    killable = Killable(pattern, 10.0)
    for name in NAMES:
        assert bool(killable.search(name)) == bool(re.search(pattern, name))
        assert killable.sub(r"<\g<0>>", name) == re.sub(pattern, r"<\g<0>>", name)


def test_texts_may_be_longer_than_a_pipe_holds() -> None:
    text = "é" * 300_000
    assert Killable("^(?=é)é", 10.0).sub("a", text) == "a" + text[1:]


def test_a_pattern_that_takes_too_long_is_killed() -> None:
    killable = Killable(r"(?=(a+)+$)b", 0.2)
    process = psutil.Process(killable._process.pid)
    began = time.monotonic()
    with pytest.raises(TookTooLong):
        killable.search("a" * 60 + "!")
    assert time.monotonic() - began < 5
    killable._process.wait(5)
    assert not process.is_running()
    with pytest.raises(TookTooLong):
        killable.search("a")


def test_all_its_texts_share_its_time() -> None:
    killable = Killable(r"(?=(a+)+$)b", 0.3)
    asked = 0
    with pytest.raises(TookTooLong):
        for asked in range(100_000):  # noqa: B007  # is looked at below
            killable.search("a" * 16 + "!")
    assert asked > 3


def test_what_it_makes_is_bounded() -> None:
    killable = Killable("(?=a)", 20.0)
    with pytest.raises(TookTooLong):
        killable.sub("y" * 1_000_000, "a" * 1_000)


def test_it_is_gone_with_who_made_it() -> None:
    killable = Killable("(?=a)", 1.0)
    pid = killable._process.pid
    opened = len(os.listdir("/proc/self/fd"))
    del killable
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()
    assert len(os.listdir("/proc/self/fd")) <= opened - 2


def test_users_patterns_come_to_it_where_nothing_else_can_bound_them() -> None:
    name = "b" * 40 + ".c"
    pattern = patterns.compile("aliasSub", "search", r"^(?!a)((b|bb)+)\.(?=c)")
    assert pattern._killable is None
    assert pattern.sub(r"\1", name) == "b" * 40 + "c"
    assert pattern._killable is not None
    assert pattern.search(name)
    hopeless = patterns.compile("aliasSub", "search", r"^(?!x)((b|bb)+)+d")
    with pytest.raises(
        ArgumentError, match=r"aliasSub\(\): search: .* takes more than 0\.5 s, at last on a name of 42"
    ):
        hopeless.sub("", name)
    with pytest.raises(ArgumentError, match="no replacement"):
        pattern.sub(r"\9", name)
