"""One split in time, the same metrics and tuned baselines for everything."""
