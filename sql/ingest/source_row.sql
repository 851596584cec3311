-- source_row: the records of a text file, parted into fields.
-- grain: one row per record that is not blank; problem says why a record is none, and is null for the others.
-- inputs: source_record.
-- parameters: $delimiter; $quoted, whether quotes mean anything; $field and $complete, regular expressions of
--   one field after its delimiter and of a whole record; $n_columns of the header.
WITH record AS (
    SELECT
        source_line,
        record,
        is_utf8,
        $quoted AND contains(record, '"') AS is_quoted
    FROM source_record
    WHERE trim(record) <> ''
),
parted AS (
    SELECT
        *,
        CASE
            WHEN is_quoted THEN list_transform(
                regexp_extract_all($delimiter || record, $field, 1),
                lambda field: CASE
                    WHEN starts_with(field, '"') THEN replace(substr(field, 2, length(field) - 2), '""', '"')
                    ELSE field
                END
            )
            ELSE string_split(record, $delimiter)
        END AS fields
    FROM record
),
judged AS (
    SELECT
        *,
        CASE
            WHEN NOT is_utf8 THEN 'not UTF-8'
            WHEN is_quoted AND NOT regexp_full_match(record, $complete) THEN 'bad quotes'
            WHEN len(fields) <> $n_columns THEN 'wrong number of columns'
        END AS problem
    FROM parted
)
SELECT
    source_line,
    CASE WHEN problem IS NULL THEN fields END AS fields,
    CASE WHEN problem IS NOT NULL THEN record END AS record,
    problem
FROM judged
