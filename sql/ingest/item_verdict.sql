-- item_verdict: which rows of an items source can be taken.
-- grain: one row per row of given_item; reason is null for those that can.
-- inputs: given_item, item.
-- Of several good rows of one item the first line counts. An item never changes its type: vectors, edges and
-- histories are kept by type.
WITH judged AS (
    SELECT
        given.source_line,
        given.item_id,
        CASE
            WHEN given.item_id IS NULL THEN 'missing item_id'
            WHEN given.item_type IS NULL THEN 'missing item_type'
            WHEN given.has_published_at AND given.published_at IS NULL THEN 'unparsable published_at'
            WHEN given.has_withdrawn_at AND given.withdrawn_at IS NULL THEN 'unparsable withdrawn_at'
            WHEN item.item_type <> given.item_type THEN 'item_id has another item_type, which it keeps'
        END AS reason
    FROM given_item AS given
    LEFT JOIN item ON given.item_id = item.item_id
),
good AS (
    SELECT
        source_line,
        item_id,
        row_number() OVER (PARTITION BY item_id ORDER BY source_line) AS occurrence
    FROM judged
    WHERE reason IS NULL
)
SELECT
    source_line,
    item_id,
    CASE WHEN occurrence > 1 THEN 'duplicate' END AS reason
FROM good
UNION ALL
SELECT source_line, item_id, reason
FROM judged
WHERE reason IS NOT NULL
