"""Building, checking and publishing versions."""
