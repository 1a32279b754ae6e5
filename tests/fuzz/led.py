"""The fuzzer that is led by what Python code its bytes reach; it needs atheris, and imports the readers itself."""

from __future__ import annotations

import sys

# numba cannot compile what atheris has changed
_KERNELS = ["kernels", "decimal", "protocols.pickle_kernel", "protocols.msgpack", "protocols.protobuf"]


def run(seconds: int) -> None:
    """Fuzz until the time is over, or a promise is broken, then exit the process."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # may not be installed

    with atheris.instrument_imports(include=["carbon"], exclude=[f"carbon.{name}" for name in _KERNELS]):
        from tests.carbon.protocols.spoken import SPOKEN
        from tests.fuzz.streams import check, prepare
    prepare()
    names = list(SPOKEN)

    def one(data: bytes) -> None:
        if len(data) > 2:
            middle = data[2:]
            check(names[data[0] % len(names)], middle, [data[1] % len(middle)])

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=60"], one)
    atheris.Fuzz()
