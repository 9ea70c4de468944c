"""gRPC on one side, our words on the other. It converts and refuses malformed requests; it decides nothing else."""
