"""The read-only store: what applications and analysts ask."""
