-- event_of_type: the events on items of one type.
-- grain: one row per event.
-- in: interaction_event, item.  $item_type: the type.
SELECT interaction_event.*
FROM interaction_event
JOIN item ON item.item_id = interaction_event.item_id
WHERE item.item_type = $item_type
