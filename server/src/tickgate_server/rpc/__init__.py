"""gRPC on one side, our words on the other. It converts and refuses malformed requests; it decides nothing else."""

import os

# gRPC's own log knows only standard error and its own form, and says a line of each stranger whose handshake fails. It
# reads this when it is first imported, which is by a module of this package.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
