"""A job's progress for people: lines told on the way, and on a terminal one that counts, with rate and time left."""

from __future__ import annotations

import sys
import time

import click

from storage.jobs import Progress

_SHOWN_S = 0.1  # between two changes of the line


class ProgressLine:
    """What goes on, on stderr. `end` before anything else is printed."""

    def __init__(self) -> None:
        self._began, self._terminal, self._line = time.monotonic(), sys.stderr.isatty(), ""
        self._what, self._first, self._since, self._shown = "", 0, self._began, 0.0

    @property
    def took(self) -> str:
        return f"in {time.monotonic() - self._began:,.1f} s"

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.what != self._what:
            self._what, self._first, self._since = progress.what, progress.done, now
        if self._terminal and now - self._shown >= _SHOWN_S:
            self._shown = now
            self._show(words(progress, progress.done - self._first, now - self._since))

    def line(self, line: str) -> None:
        self.end()
        click.echo(printable(line), err=True)

    def skipped(self, path: str, why: str) -> None:
        self.line(f"skipped {path}: {why}")

    def end(self) -> None:
        self._show("")

    def _show(self, line: str) -> None:
        if line != self._line:
            click.echo(f"\r{line:<{len(self._line)}}" + ("" if line else "\r"), err=True, nl=False)
            self._line = line


def words(progress: Progress, since: int, seconds: float) -> str:
    """A progress in words; `since` of it were done in the last so many seconds."""
    done, total, what = progress
    if not total:
        return f"{done:,} {what}" if done else what
    text = f"{min(1.0, done / total):4.0%}  {done:,} of {total:,} {what}"
    if since <= 0 or seconds <= 0:
        return text
    rate = since / seconds
    return f"{text}, {rate:,.0f}/s, {_span((total - done) / rate)} left"


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def printable(text: str) -> str:
    """Text that may be a file's name, without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
