-- one_feature: user_feature for one user alone.
-- grain: one row.
-- in: user_profile.  $user: a user_id; all features are null for somebody unknown.
WITH profile AS (
    SELECT *
    FROM user_profile
    WHERE user_profile.user_id = $user
),
asked AS (
    SELECT CAST(0 AS INTEGER) AS user_index
)
SELECT
    asked.user_index,
    profile.* EXCLUDE (user_id)
FROM asked
LEFT JOIN profile ON TRUE
