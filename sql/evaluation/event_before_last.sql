-- event_before_last: the events without those of each user with the item that is left out.
-- grain: one row per event.
-- in: interaction_event, last_item.
SELECT interaction_event.*
FROM interaction_event
LEFT JOIN last_item
    ON last_item.user_id = interaction_event.user_id AND last_item.item_id = interaction_event.item_id
WHERE last_item.item_id IS NULL
