-- hold_out_target: what users newly stream in the horizon after $as_of; the labels of the evaluation.
-- grain: one row per user and item streamed in the horizon and never before it; place 1 is the user's first.
-- in: user_node, item_node, interaction_event.  $as_of (included), $horizon_end (excluded).
-- node is null for an item that is not known at $as_of.
WITH first_stream AS (
    SELECT
        user_id,
        item_id,
        min(event_ts) AS first_ts
    FROM interaction_event
    WHERE event_type = 'stream' AND event_ts < $horizon_end
    GROUP BY user_id, item_id
    HAVING min(event_ts) >= $as_of
)
SELECT
    first_stream.user_id,
    first_stream.item_id,
    item_node.node,
    coalesce(item_node.has_events, FALSE) AS is_warm,
    row_number() OVER (
        PARTITION BY first_stream.user_id, coalesce(item_node.has_events, FALSE)
        ORDER BY first_stream.first_ts, first_stream.item_id
    ) AS place
FROM first_stream
LEFT JOIN item_node ON item_node.item_id = first_stream.item_id
ORDER BY first_stream.user_id, place
