-- user_item: what each user streamed before $as_of, and when last.
-- grain: one row per user and item.
-- in: user_node, item_node, interaction_event.
SELECT
    user_node.user_index,
    item_node.node,
    max(interaction_event.event_ts) AS last_ts
FROM interaction_event
JOIN user_node ON user_node.user_id = interaction_event.user_id
JOIN item_node ON item_node.item_id = interaction_event.item_id
WHERE interaction_event.event_type = 'stream' AND interaction_event.event_ts < $as_of
GROUP BY user_node.user_index, item_node.node
ORDER BY user_node.user_index, item_node.node
