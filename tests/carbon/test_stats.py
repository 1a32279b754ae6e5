"""Rejects are counted all, and logged one a minute and reason, harmless to a terminal."""

from __future__ import annotations

import logging

import pytest

from carbon.stats import Stats, node


def test_of_a_flood_one_line_a_minute_is_logged_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    at = 0.0
    stats = Stats(clock=lambda: at)
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            stats.reject("bad value", sample=b"x")
        assert len(caplog.records) == 1
        at = 61.0
        stats.reject("bad value", sample=b"y")
    assert stats.rejected["bad value"] == 1001
    assert "999 more" in caplog.messages[1]


def test_untrusted_text_is_logged_short_and_without_control_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        Stats().reject("bad value", sample=b"\x1b[31m\n" + b"z" * 10_000)
    (message,) = caplog.messages
    assert "\x1b" not in message
    assert "\n" not in message
    assert len(message) < 400


def test_a_node_is_one_node_whatever_the_text() -> None:
    assert node("web1.example.com") == "web1_example_com"
    assert node("a b/c") == "a_b_c"
    assert node("") == "unnamed"
