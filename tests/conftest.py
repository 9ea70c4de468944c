"""What holds for every process of the tests."""

from __future__ import annotations

import os

# Before anything wakes gRPC. Its fork handlers run in each child that is to become another program, such as PostgreSQL
# under a user of its own, and now and then the child dies of them. No child here goes on with gRPC.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
