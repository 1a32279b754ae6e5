"""The tree of render errors: each is the user's, is answered with 400 (or what `status` says) and says what is allowed.

RenderError
├── TargetError      a target that cannot be parsed: column, what stands there, what is allowed
├── UnknownFunction  a function that is not there; names the nearest
├── ArgumentError    a function's argument: parameter, what it takes
├── InvalidTime      a time or an interval that is none
├── ParameterError   a request's parameters: all that are wrong, at once
├── InvalidModule    a module of the user's, named in the configuration, that cannot be loaded: not a request's fault
├── CustomFailed     a function of such a module that fails (500)
├── Refused          who asks may not, or asks for a host that is not ours (400, 401, 403, 421)
├── TooMuch          the query costs more than the limits allow (413), with the numbers
├── Unavailable      another server that a function asks gives no answer (503)
├── Deadline         the query has taken longer than the limits allow (503)
├── TooHeavy         a worker has to answer the query; nobody is told
└── Cancelled        nobody waits for the answer any more (499, which nobody reads)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RenderError(Exception):
    """The root; `status` is the HTTP status, `details` what the JSON answer says beside the message."""

    status = 400

    def details(self) -> dict[str, Any]:
        return {}


class TargetError(RenderError):
    """A target cannot be parsed at a column (counted from 1)."""

    def __init__(self, target: str, column: int, reason: str) -> None:
        super().__init__(f"{reason} at column {column} of target {target!r}")
        self.target, self.column, self.reason = target, column, reason

    def details(self) -> dict[str, Any]:
        return {"target": self.target, "column": self.column}


class UnknownFunction(RenderError):
    def __init__(self, name: str, near: str | None) -> None:
        super().__init__(f"no function {name!r}" + (f", perhaps {near!r}" if near else ""))
        self.name, self.near = name, near

    def details(self) -> dict[str, Any]:
        return {"function": self.name, "near": self.near}


class ArgumentError(RenderError):
    """A function's argument is wrong; `reason` says what the parameter takes."""

    def __init__(self, function: str, argument: str, reason: str) -> None:
        super().__init__(f"{function}(): {argument}: {reason}")
        self.function, self.argument, self.reason = function, argument, reason

    def details(self) -> dict[str, Any]:
        return {"function": self.function, "argument": self.argument}


class InvalidTime(RenderError):
    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r} is no time: {reason}")
        self.text, self.reason = text, reason


class ParameterError(RenderError):
    """All of a request's wrong parameters at once: name → what is wrong and what is allowed."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in errors.items()))
        self.errors = errors

    def details(self) -> dict[str, Any]:
        return {"parameters": self.errors}


class InvalidModule(RenderError):
    """A module of the user's that cannot be used for series functions."""

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(f"[functions] modules: {module}: {reason}")
        self.module, self.reason = module, reason


class CustomFailed(RenderError):
    """A function of the user's own fails; what it has raised is in the log, as it may hold what is not for all."""

    status = 500

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(f"{function}() is no function of Plumbago's own, and {reason}")
        self.function, self.reason = function, reason

    def details(self) -> dict[str, Any]:
        return {"function": self.function}


class Refused(RenderError):
    """Says what is missing, never what there is; `headers` go with the answer."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers


class TooMuch(RenderError):
    status = 413


class Unavailable(RenderError):
    """A server that the configuration names cannot be asked; its address and what it said are for the log only."""

    status = 503


class Deadline(RenderError):
    """Not the user's fault alone, hence 503: the same query may be quick enough on a less busy machine."""

    status = 503

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the query takes longer than {seconds:g} s; narrow the pattern or the window")
        self.seconds = seconds


class TooHeavy(RenderError):
    """No error of anybody's: a worker is to answer. Only where there is none is it told."""

    status = 503

    def __init__(self, *, late: bool = False) -> None:
        """`late`: it has taken too long, which may not be its fault."""
        super().__init__("the query is too heavy to be answered beside others")
        self.late = late


class Cancelled(RenderError):
    status = 499  # nginx' word for it

    def __init__(self) -> None:
        super().__init__("the client has gone")
