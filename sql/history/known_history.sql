-- known_history: what users did on the items of item_node.
-- grain: one row per event on a known item.
-- in: item_node, interaction_event.
-- signal: 0 strong (stream), 1 weak (follow, preview, intent_to_pay), 2 skip.
SELECT
    interaction_event.user_id,
    item_node.node,
    CAST(CASE interaction_event.event_type WHEN 'stream' THEN 0 WHEN 'skip' THEN 2 ELSE 1 END AS TINYINT) AS signal,
    interaction_event.event_ts
FROM interaction_event
JOIN item_node ON item_node.item_id = interaction_event.item_id
