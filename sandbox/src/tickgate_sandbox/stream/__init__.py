"""A stand-in for Alpaca's WebSockets: the stock stream and the option stream."""
