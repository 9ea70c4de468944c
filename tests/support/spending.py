"""Callers who spend the budget of upstream requests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import grpc

from tickgate.v1 import error_reason_pb2 as reasons
from tickgate.v1 import quote_service_pb2 as pb

from .running import Stack


async def spend(stack: Stack, names: Iterator[str], calls: int) -> int:
    """Ask for what costs one upstream request each, *calls* times, and return how often the budget did not allow it.

    On a busy machine an answer may come too late for its caller, who then has neither had one nor been refused.
    """
    refused = 0
    for _ in range(calls):
        request = pb.GetQuotesRequest(symbols=list(islice(names, 2)))
        try:
            answer = await stack.quotes.GetQuotes(request, timeout=1.0)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                continue
            raise
        refused += answer.results[0].unavailable.reason == reasons.ERROR_REASON_BUDGET_EXHAUSTED
    return refused
