-- ingest_run: what came in, when and from where.
-- grain: one row per source of an ingest; ingest_id rises by one with each.
-- n_rows = n_new + n_updated + n_stored + n_rejected.
CREATE TABLE ingest_run (
    ingest_id   BIGINT    NOT NULL,
    table_name  VARCHAR   NOT NULL,
    source      VARCHAR   NOT NULL,
    n_rows      BIGINT    NOT NULL,
    n_new       BIGINT    NOT NULL,
    n_updated   BIGINT    NOT NULL,
    n_stored    BIGINT    NOT NULL,
    n_rejected  BIGINT    NOT NULL,
    finished_at TIMESTAMP NOT NULL
)
