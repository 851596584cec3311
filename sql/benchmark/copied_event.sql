-- copied_event: what the users of a small world did, once for each copy of them, on any copy of the items.
-- grain: one row per event and copy of its user.
-- in: small_event.  $user_copies: of each user; $copies: of each item.
SELECT
    small_event.* REPLACE (
        small_event.user_id || '-' || lpad(CAST(copy.number AS VARCHAR), 6, '0') AS user_id,
        small_event.item_id || '-' || lpad(
            CAST(CAST(hash(small_event.user_id, small_event.item_id, copy.number) % $copies AS INTEGER) AS VARCHAR), 6, '0'
        ) AS item_id
    )
FROM small_event
CROSS JOIN unnest(generate_series(0, $user_copies - 1)) AS copy (number)
ORDER BY small_event.event_ts
