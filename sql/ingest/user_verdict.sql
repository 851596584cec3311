-- user_verdict: which rows of a users source can be taken.
-- grain: one row per row of given_user; reason is null for those that can.
-- inputs: given_user.
-- Of several rows of one user the first line counts.
WITH numbered AS (
    SELECT
        source_line,
        user_id,
        row_number() OVER (PARTITION BY user_id ORDER BY source_line) AS occurrence
    FROM given_user
)
SELECT
    source_line,
    user_id,
    CASE
        WHEN user_id IS NULL THEN 'missing user_id'
        WHEN occurrence > 1 THEN 'duplicate'
    END AS reason
FROM numbered
