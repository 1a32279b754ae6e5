"""Schemathesis asks a real server what its description says may be asked, and looks at what it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from render.api.openapi import document
from tests.e2e.server import Server, eventually
from tests.effort import tries

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.timeout(180)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running = Server(tmp_path_factory.mktemp("openapi") / "data")
    now = int(time.time())
    running.send(f"a.b 1 {now}\na.c 2 {now}\nload;host=web1 3 {now}\n".encode())
    eventually(lambda: running.values("load;host=web1"))
    yield f"http://127.0.0.1:{running.http}"
    running.stop()


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]  # schemathesis may be missing
@settings(
    max_examples=tries(15),
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_asked_is_answered_as_described(case: Any, url: str) -> None:
    case.call_and_validate(base_url=url, checks=CHECKS, timeout=20)
