"""plumbago token add · list · remove: who may ask the HTTP API for what."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from storage.cli import DATA, one_line_errors

_AGE = re.compile(r"([1-9][0-9]{0,8})([smhdwy])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_AGE_MAX_S = 100 * 365 * 86_400


class _Age(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _AGE.fullmatch(str(value))
        age = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < age <= _AGE_MAX_S:
            self.fail(f"{value!r} is no age such as 12h, 90d or 1y, at most 100y", param, ctx)
        return age


@click.group("token")
def token_command() -> None:
    """Make and remove the tokens by which the HTTP API is asked.

    \b
    plumbago token add grafana --scope read
    curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8080/metrics/find?query=*
    """


@token_command.command("add")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "admin"]),
    default="read",
    show_default=True,
    envvar="PLUMBAGO_SCOPE",
    help="What it is good for; each with those before it.",
)
@click.option("--expires", type=_Age(), envvar="PLUMBAGO_EXPIRES", help="For how long, such as 90d.")
@DATA
@one_line_errors
def add_command(name: str, scope: str, expires: int | None, data: Path) -> None:
    """Make a token and print it. Only its SHA-256 is kept."""
    from render import tokens
    from render.config import Scope

    try:
        made = tokens.add(data, name, Scope[scope.upper()], int(time.time()), lifetime_s=expires)
    except ValueError as error:
        raise OSError(str(error)) from error
    click.echo(made)
    click.echo("This is the only time that it is shown.", err=True)


@token_command.command("list")
@DATA
@one_line_errors
def list_command(data: Path) -> None:
    """List names, scopes and times."""
    from render import tokens

    now = int(time.time())
    try:
        known = tokens.read(data / tokens.FILE)
    except ValueError as error:
        raise OSError(str(error)) from error
    for token in known:
        over = ", which is over" if token.is_over(now) else ""
        until = "" if token.expires is None else f", until {_day(token.expires)}{over}"
        click.echo(f"{token.name:<24} {token.scope!s:<6} since {_day(token.created)}{until}")


@token_command.command("remove")
@click.argument("name")
@DATA
@one_line_errors
def remove_command(name: str, data: Path) -> None:
    """Have a token accepted no more, at once."""
    from render import tokens

    try:
        tokens.remove(data, name)
    except ValueError as error:
        raise OSError(str(error)) from error


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


COMMANDS = [token_command]
