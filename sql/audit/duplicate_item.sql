-- duplicate_item: item ids that stand in the catalogue more than once.
-- grain: one row per offending item_id; empty means good.
SELECT
    item_id,
    count(*) AS n_rows
FROM item
GROUP BY item_id
HAVING count(*) > 1
