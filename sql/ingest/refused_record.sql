-- refused_record: records of a text file that are no rows and hold the id of a forgotten user as a field.
-- grain: one row per such record.
-- inputs: malformed_row, forgotten_user.
WITH field AS (
    SELECT
        source_line,
        unnest(regexp_split_to_array(json_extract_string(content, '$.line'), '[,;|"\t]')) AS text
    FROM malformed_row
),
hashed AS (
    SELECT
        field.source_line,
        sha256(salt.salt || trim(field.text)) AS user_hash
    FROM field
    CROSS JOIN (SELECT max(salt) AS salt FROM forgotten_user) AS salt
)
SELECT DISTINCT hashed.source_line
FROM hashed
JOIN forgotten_user ON forgotten_user.user_hash = hashed.user_hash
