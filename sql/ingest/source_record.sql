-- source_record: the lines of a text file, those of a quoted field that spans lines joined.
-- grain: one row per record, named by its first line.
-- inputs: source_text, quote_span.
WITH spanned AS (
    SELECT
        source_text.source_line,
        source_text.line,
        source_text.is_utf8,
        quote_span.first_line
    FROM source_text
    INNER JOIN quote_span
        ON source_text.source_line BETWEEN quote_span.first_line AND quote_span.last_line
)
SELECT
    first_line AS source_line,
    string_agg(line, chr(10) ORDER BY source_line) AS record,
    bool_and(is_utf8) AS is_utf8
FROM spanned
GROUP BY first_line
UNION ALL
SELECT
    source_text.source_line,
    source_text.line AS record,
    source_text.is_utf8
FROM source_text
LEFT JOIN spanned ON source_text.source_line = spanned.source_line
WHERE spanned.source_line IS NULL
