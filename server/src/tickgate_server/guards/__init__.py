"""Wrappers that are the port they wrap, so that they stack, and the small machines inside them."""
