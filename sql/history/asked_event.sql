-- asked_event: all that the users in user_node did before $as_of, oldest event first.
-- grain: one row per event on a known item.
-- in: user_node, item_node, interaction_event.
-- signal: 0 strong (stream), 1 weak (follow, preview, intent_to_pay), 2 skip.
WITH asked AS (
    SELECT
        user_node.user_index,
        interaction_event.item_id,
        CASE interaction_event.event_type WHEN 'stream' THEN 0 WHEN 'skip' THEN 2 ELSE 1 END AS signal,
        interaction_event.event_ts
    FROM interaction_event
    JOIN user_node ON user_node.user_id = interaction_event.user_id
    WHERE interaction_event.event_ts < $as_of
)
SELECT
    asked.user_index,
    item_node.node,
    CAST(asked.signal AS TINYINT) AS signal,
    asked.event_ts
FROM asked
JOIN item_node ON item_node.item_id = asked.item_id
ORDER BY asked.user_index, asked.event_ts, item_node.node, asked.signal
