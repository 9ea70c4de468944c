"""A stand-in for Alpaca's stock WebSocket."""
