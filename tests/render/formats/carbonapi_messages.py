"""carbonapi's messages, as the official library reads them; made at run time, by carbonapi_v2_pb and _v3_pb.proto."""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # its stubs are a package of their own
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

_V2 = """
FetchRequest: string name 1, int32 startTime 2, int32 stopTime 3
MultiFetchRequest: *FetchRequest metrics 1
FetchResponse: string name 1, int32 startTime 2, int32 stopTime 3, int32 stepTime 4, *double values 5, *bool isAbsent 6
MultiFetchResponse: *FetchResponse metrics 1
GlobMatch: string path 1, bool isLeaf 2
GlobResponse: string name 1, *GlobMatch matches 2
Retention: int32 secondsPerPoint 1, int32 numberOfPoints 2
InfoResponse: string name 1, string aggregationMethod 2, int32 maxRetention 3, float xFilesFactor 4, *Retention retentions 5
"""  # noqa: E501
_V3 = """
FilteringFunction: string name 1, *string arguments 2
CapabilityResponse: *string supportedProtocols 1, string name 2, bool highPrecisionTimestamps 3, bool supportFilteringFunctions 4, bool likeSplittedRequests 5, bool supportStreaming 6
FetchRequest: string name 1, int64 startTime 2, int64 stopTime 3, bool highPrecisionTimestamps 4, string pathExpression 5, *FilteringFunction filterFunctions 6, int64 maxDataPoints 7
MultiFetchRequest: *FetchRequest metrics 1
FetchResponse: string name 1, string pathExpression 2, string consolidationFunc 3, int64 startTime 4, int64 stopTime 5, int64 stepTime 6, float xFilesFactor 7, bool highPrecisionTimestamps 8, *double values 9, *string appliedFunctions 10, int64 requestStartTime 11, int64 requestStopTime 12
MultiFetchResponse: *FetchResponse metrics 1
MultiGlobRequest: *string metrics 1, int64 startTime 2, int64 stopTime 3
GlobMatch: string path 1, bool isLeaf 2
GlobResponse: string name 1, *GlobMatch matches 2
MultiGlobResponse: *GlobResponse metrics 1
MultiMetricsInfoRequest: *string names 1
Retention: int64 secondsPerPoint 1, int64 numberOfPoints 2
MetricsInfoResponse: string name 1, string consolidationFunc 2, float xFilesFactor 4, int64 maxRetention 3, *Retention retentions 5
MultiMetricsInfoResponse: *MetricsInfoResponse metrics 1
"""  # noqa: E501


def _messages(package: str, described: str) -> dict[str, Any]:
    """The classes of a package's messages by name."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    names = []
    for line in described.strip().splitlines():
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        names.append(name)
        for field in fields.split(", "):
            kind, called, number = field.split()
            scalar = getattr(kinds, f"TYPE_{kind.lstrip('*').upper()}", None)
            message.field.add(
                name=called,
                number=int(number),
                type=kinds.TYPE_MESSAGE if scalar is None else scalar,
                label=kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL,
                type_name=f".{package}.{kind.lstrip('*')}" if scalar is None else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in names
    }


V2 = _messages("carbonapi_v2_pb", _V2)
V3 = _messages("carbonapi_v3_pb", _V3)


def read(messages: dict[str, Any], name: str, body: bytes) -> Any:
    """A message; raises DecodeError where it is none. Fields that are not known to it are none, either."""
    message = messages[name].FromString(body)
    assert message.SerializeToString(deterministic=True) is not None
    assert not _unknown(message), "a field that the message does not have"
    return message


def _unknown(message: Any) -> bool:
    from google.protobuf import unknown_fields

    if len(unknown_fields.UnknownFieldSet(message)):
        return True
    inner = (value for field, value in message.ListFields() if field.message_type is not None)
    return any(_unknown(one) for values in inner for one in values)
