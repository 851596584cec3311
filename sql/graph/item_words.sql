-- item_words: the words by which people look for an item.
-- grain: one row per item node, in the order of node.
-- in: item_node, item.
SELECT
    concat_ws('. ', item.title, item.creator) AS name,
    concat_ws(
        '. ',
        item.title,
        item.creator,
        nullif(array_to_string(item.genres, ', '), ''),
        item.description
    ) AS text
FROM item_node
JOIN item ON item.item_id = item_node.item_id
ORDER BY item_node.node
