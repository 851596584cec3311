-- copied_user: every user of a small world so many times, with an id of its own.
-- grain: one row per user and copy.
-- in: small_user.  $user_copies: of each user.
SELECT
    small_user.* REPLACE (small_user.user_id || '-' || lpad(CAST(copy.number AS VARCHAR), 6, '0') AS user_id)
FROM small_user
CROSS JOIN unnest(generate_series(0, $user_copies - 1)) AS copy (number)
