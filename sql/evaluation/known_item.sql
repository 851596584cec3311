-- known_item: the items known at the cut, whatever events stand in: nobody learns of a later item by its missing events.
-- grain: one row per item.
-- in: item, item_node.
SELECT item.*
FROM item
JOIN item_node ON item_node.item_id = item.item_id
