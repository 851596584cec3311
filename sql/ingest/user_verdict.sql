-- user_verdict: which rows of a users source can be taken.
-- grain: one row per row of given_user; reason is null for those that can.
-- inputs: given_user, refused_user.
-- Of several rows of one user the first line counts.
WITH numbered AS (
    SELECT
        given_user.source_line,
        given_user.user_id,
        refused_user.user_id IS NOT NULL AS is_forgotten,
        row_number() OVER (PARTITION BY given_user.user_id ORDER BY given_user.source_line) AS occurrence
    FROM given_user
    LEFT JOIN refused_user ON given_user.user_id = refused_user.user_id
)
SELECT
    source_line,
    user_id,
    CASE
        WHEN user_id IS NULL THEN 'missing user_id'
        WHEN is_forgotten THEN 'forgotten user'
        WHEN occurrence > 1 THEN 'duplicate'
    END AS reason
FROM numbered
