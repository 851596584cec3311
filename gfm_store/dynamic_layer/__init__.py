"""The dynamic layer: user histories and the two-tower. Refreshed often, on a frozen static layer."""
