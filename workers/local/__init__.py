"""The local stack: what a laptop runs so that nothing else need be installed."""
