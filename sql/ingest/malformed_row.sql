-- malformed_row: the records of a text file that are no rows.
-- grain: one row per record that could not be parted into the header's columns.
-- inputs: source_row.
-- content is a JSON object that holds the record as it stands.
SELECT
    source_line,
    problem AS reason,
    CAST(json_object('line', record) AS VARCHAR) AS content
FROM source_row
WHERE problem IS NOT NULL
