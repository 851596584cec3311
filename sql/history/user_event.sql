-- user_event: the histories of the users in user_node, oldest event first.
-- grain: one row per event on a known item.
-- in: user_node, item_node, interaction_event.  $history_start (included) and $as_of (excluded) bound the window.
-- signal: 0 strong (stream), 1 weak (follow, preview, intent_to_pay), 2 skip.
-- n_before: this user's events in the window that are strictly earlier: the history at the moment of the event.
WITH history AS (
    SELECT
        user_node.user_index,
        item_node.node,
        CASE interaction_event.event_type WHEN 'stream' THEN 0 WHEN 'skip' THEN 2 ELSE 1 END AS signal,
        interaction_event.event_ts
    FROM interaction_event
    JOIN user_node ON user_node.user_id = interaction_event.user_id
    JOIN item_node ON item_node.item_id = interaction_event.item_id
    WHERE interaction_event.event_ts >= $history_start
        AND interaction_event.event_ts < $as_of
)
SELECT
    user_index,
    node,
    CAST(signal AS TINYINT) AS signal,
    event_ts,
    CAST(rank() OVER (PARTITION BY user_index ORDER BY event_ts) - 1 AS INTEGER) AS n_before
FROM history
ORDER BY user_index, event_ts, node, signal
