"""The tree of render errors: each is the user's, is answered with 400 (or what `status` says) and says what is allowed.

RenderError
├── TargetError      a target that cannot be parsed: column, what stands there, what is allowed
├── UnknownFunction  a function that is not there; names the nearest
├── ArgumentError    a function's argument: parameter, what it takes
├── InvalidTime      a time or an interval that is none
├── ParameterError   a request's parameters: all that are wrong, at once
├── TooMuch          the query costs more than the limits allow (413), with the numbers
└── Deadline         the query has taken longer than the limits allow (503)
"""

from __future__ import annotations

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


class TooMuch(RenderError):
    status = 413


class Deadline(RenderError):
    """Not the user's fault alone, hence 503: the same query may be quick enough on a less busy machine."""

    status = 503

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the query takes longer than {seconds:g} s; narrow the pattern or the window")
        self.seconds = seconds
