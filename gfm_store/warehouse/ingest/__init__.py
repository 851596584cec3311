"""Ingest: files and databases into the warehouse, every row stored or quarantined with a reason.

`sources` opens what SRC names, by way of `delimited` (CSV, TSV, RecBole) and `database` (SQLAlchemy); `columns`
says how foreign values are read, `mapping` which column and event name means which of ours; `merge` judges
rows and puts them in place, by the SQL of `sql/ingest/`; `run` does it all in one atomic step.
"""

from gfm_store.warehouse.ingest.run import IngestSummary, RejectedReason, SourceSummary, ingest

__all__ = ["IngestSummary", "RejectedReason", "SourceSummary", "ingest"]
