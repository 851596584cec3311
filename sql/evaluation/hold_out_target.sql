-- hold_out_target: what users newly stream in the horizon after $as_of; the labels of the evaluation.
-- grain: one row per user and item streamed in the horizon and never before it; by user, then by time.
-- in: catalogue_item, interaction_event.  $as_of (included), $horizon_end (excluded).
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
    catalogue_item.node,
    first_stream.first_ts
FROM first_stream
JOIN catalogue_item ON catalogue_item.item_id = first_stream.item_id
ORDER BY first_stream.user_id, first_stream.first_ts, first_stream.item_id
