-- asked_event: all that the users in user_node did before $as_of, oldest event first.
-- grain: one row per event on a known item.
-- in: user_node, known_history.
SELECT
    user_node.user_index,
    known_history.node,
    known_history.signal,
    known_history.event_ts
FROM known_history
JOIN user_node ON user_node.user_id = known_history.user_id
WHERE known_history.event_ts < $as_of
ORDER BY user_node.user_index, known_history.event_ts, known_history.node, known_history.signal
