-- item_text: what the sentence transformer reads of each item, and its hash.
-- grain: one row per item node, in the order of node.
-- in: item_node, item.
-- The parts are joined by full stops. An item without title, description and genres has empty text.
WITH written AS (
    SELECT
        item_node.node,
        concat_ws(
            '. ',
            rtrim(item.title, ' .'),
            rtrim(item.description, ' .'),
            nullif(array_to_string(item.genres, ', '), '')
        ) AS text
    FROM item_node
    JOIN item ON item.item_id = item_node.item_id
)
SELECT
    node,
    text,
    md5(text) AS text_hash
FROM written
ORDER BY node
