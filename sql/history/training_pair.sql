-- training_pair: what users newly streamed in the training window, and how much history they had then.
-- grain: one row per user and item that the user had not streamed before.
-- in: user_event, user_node, item_node, interaction_event.  $train_start (included), $as_of (excluded).
WITH first_stream AS (
    SELECT
        user_id,
        item_id,
        min(event_ts) AS first_ts
    FROM interaction_event
    WHERE event_type = 'stream' AND event_ts < $as_of
    GROUP BY user_id, item_id
)
SELECT
    user_event.user_index,
    user_event.node,
    user_event.event_ts,
    user_event.n_before
FROM first_stream
JOIN user_node ON user_node.user_id = first_stream.user_id
JOIN item_node ON item_node.item_id = first_stream.item_id
JOIN user_event
    ON user_event.user_index = user_node.user_index
    AND user_event.node = item_node.node
    AND user_event.event_ts = first_stream.first_ts
    AND user_event.signal = 0
WHERE first_stream.first_ts >= $train_start
ORDER BY user_event.event_ts, user_event.user_index, user_event.node
