"""Asks a Temporal server that is not ours; apart, because the client library is large."""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from runtime.embedded.temporal import SEARCH_ATTRIBUTES


async def _check(address: str, namespace: str) -> str:
    client = await Client.connect(address, namespace=namespace)
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ConnectionError(f"Temporal at {address} has no namespace {namespace!r}: create it") from error
        raise
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    missing = [name for name in SEARCH_ATTRIBUTES if name not in listed.custom_attributes]
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=namespace,
                search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return f"Temporal {info.server_version}"


def check(address: str, namespace: str, timeout_s: float = 10.0) -> str:
    """The server's version, once its namespace is there and knows our search attributes (they are added if need be)."""
    return asyncio.run(asyncio.wait_for(_check(address, namespace), timeout_s))
