-- copied_item: every item of a small world so many times, with an id of its own.
-- grain: one row per item and copy.
-- in: small_item.  $copies: of each item.
SELECT
    small_item.* REPLACE (small_item.item_id || '-' || lpad(CAST(copy.number AS VARCHAR), 6, '0') AS item_id)
FROM small_item
CROSS JOIN unnest(generate_series(0, $copies - 1)) AS copy (number)
