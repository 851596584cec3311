-- item_detail: the catalogue's own columns for the published item table.
-- grain: one row per item node, in the order of node.
-- in: item_node, item.
SELECT
    item.title,
    item.description,
    item.genres,
    item.language,
    item.creator,
    item.published_at,
    item.withdrawn_at,
    item.markets
FROM item_node
JOIN item ON item.item_id = item_node.item_id
ORDER BY item_node.node
