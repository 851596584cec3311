"""DuckDB: the only place that runs SQL. The catalogue of sql/, ingest, and the made sample world."""
