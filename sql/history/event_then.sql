-- event_then: the events as a version knew them, though later ingests have brought more since.
-- grain: one row per event.
-- in: interaction_event.
-- $as_of, $last_ingest_id: the version's moment, and the last ingest that it saw: of what happened before its moment
--   it knew that much. $later_ingest_id: of what happened afterwards that much was known while it was served.
SELECT *
FROM interaction_event
WHERE (event_ts < $as_of AND ingest_id <= $last_ingest_id)
    OR (event_ts >= $as_of AND ingest_id <= $later_ingest_id)
