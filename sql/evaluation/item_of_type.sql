-- item_of_type: the items of one type.
-- grain: one row per item.
-- in: item.  $item_type: the type.
SELECT *
FROM item
WHERE item_type = $item_type
