-- withdrawn_item: items that are not offered any more.
-- grain: one row per item of item_node that was withdrawn by $as_of.
-- in: item_node, item.
SELECT item_node.node
FROM item_node
JOIN item ON item.item_id = item_node.item_id
WHERE item.withdrawn_at <= $as_of
ORDER BY item_node.node
