-- refused_user: the users of a source who were forgotten.
-- grain: one row per user_id.
-- inputs: given_user_id, forgotten_user.
WITH salt AS (
    SELECT max(salt) AS salt FROM forgotten_user
)
SELECT given_user_id.user_id
FROM given_user_id
CROSS JOIN salt
JOIN forgotten_user ON forgotten_user.user_hash = sha256(salt.salt || given_user_id.user_id)
GROUP BY given_user_id.user_id
