-- rejected_row: the quarantine, every row that an ingest could not take, and why.
-- grain: one row per rejected source row of an ingest.
-- source_line counts from 1 and includes a header line where the source has one; content is the row as JSON.
CREATE TABLE rejected_row (
    ingest_id   BIGINT  NOT NULL,
    table_name  VARCHAR NOT NULL,
    source      VARCHAR NOT NULL,
    source_line BIGINT  NOT NULL,
    reason      VARCHAR NOT NULL,
    content     VARCHAR NOT NULL
)
