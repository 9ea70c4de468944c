"""Who calls, and what they may: values without I/O."""
