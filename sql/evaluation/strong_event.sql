-- strong_event: the events without weak signals (follow, preview, intent to pay).
-- grain: one row per event.
-- in: interaction_event.
SELECT *
FROM interaction_event
WHERE event_type IN ('stream', 'skip')
