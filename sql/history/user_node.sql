-- user_node: the users with an event before $as_of, numbered densely.
-- grain: one row per user; user_index counts from 0 in the order of user_id.
-- in: interaction_event.
SELECT
    CAST(row_number() OVER (ORDER BY user_id) - 1 AS INTEGER) AS user_index,
    user_id
FROM interaction_event
WHERE event_ts < $as_of
GROUP BY user_id
ORDER BY user_index
