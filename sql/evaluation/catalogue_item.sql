-- catalogue_item: the items of an evaluation: those known at the cut, and those that come inside the horizon.
-- grain: one row per item; node continues item_node, so an item known at the cut has the same number in both.
-- in: item_node, item, interaction_event.  $horizon_end (excluded).
-- is_known: the item is in item_node. The others are listed where the catalogue is taken as known, and nowhere else.
WITH first_event AS (
    SELECT item_id, min(event_ts) AS first_ts
    FROM interaction_event
    GROUP BY item_id
),
later AS (
    SELECT
        item.item_id,
        item.item_type
    FROM item
    LEFT JOIN item_node ON item_node.item_id = item.item_id
    JOIN first_event ON first_event.item_id = item.item_id
    WHERE item_node.item_id IS NULL AND first_event.first_ts < $horizon_end
),
numbered AS (
    SELECT
        CAST((SELECT count(*) FROM item_node) + row_number() OVER (ORDER BY item_id) - 1 AS INTEGER) AS node,
        item_id,
        item_type,
        FALSE AS has_events,
        FALSE AS is_available,
        FALSE AS is_known
    FROM later
    UNION ALL
    SELECT node, item_id, item_type, has_events, is_available, TRUE AS is_known
    FROM item_node
)
SELECT
    numbered.node,
    numbered.item_id,
    numbered.item_type,
    item.title,
    item.language,
    item.genres,
    item.published_at,
    item.markets,
    numbered.has_events,
    numbered.is_available,
    numbered.is_known
FROM numbered
JOIN item ON item.item_id = numbered.item_id
ORDER BY numbered.node
