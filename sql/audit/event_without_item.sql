-- event_without_item: events whose item is not in the catalogue. Ingest refuses these.
-- grain: one row per offending event; empty means good.
SELECT
    interaction_event.user_id,
    interaction_event.item_id,
    interaction_event.event_ts
FROM interaction_event
LEFT JOIN item ON item.item_id = interaction_event.item_id
WHERE item.item_id IS NULL
