"""What the market did before: bars, trades, quotes and corporate actions, a page at a time."""
