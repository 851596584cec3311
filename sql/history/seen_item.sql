-- seen_item: what the users in user_node have streamed before $as_of; it is not recommended to them again.
-- grain: one row per user and item.
-- in: user_node, item_node, interaction_event.
SELECT DISTINCT
    user_node.user_index,
    item_node.node
FROM interaction_event
JOIN user_node ON user_node.user_id = interaction_event.user_id
JOIN item_node ON item_node.item_id = interaction_event.item_id
WHERE interaction_event.event_type = 'stream' AND interaction_event.event_ts < $as_of
ORDER BY user_node.user_index, item_node.node
