-- one_history: asked_event for one user alone, who need not be numbered first.
-- grain: one row per event on a known item, oldest first.
-- in: known_history.  $user: a user_id; $as_of: events before it.
SELECT
    CAST(0 AS INTEGER) AS user_index,
    known_history.node,
    known_history.signal,
    known_history.event_ts
FROM known_history
WHERE known_history.user_id = $user AND known_history.event_ts < $as_of
ORDER BY known_history.event_ts, known_history.node, known_history.signal
