-- known_event: the events on items that are known at the cut.
-- grain: one row per event.
-- in: interaction_event, item_node.
SELECT interaction_event.*
FROM interaction_event
JOIN item_node ON item_node.item_id = interaction_event.item_id
