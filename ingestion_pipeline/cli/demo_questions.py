"""What a person might ask of the demo's data, in Druid SQL.

What belongs here: questions and their SQL, `{organization}` standing for whose rows are meant. What does not:
asking. Times are UTC, as Druid keeps them.
"""

QUESTIONS: tuple[tuple[str, str], ...] = (
    (
        "Which airlines are late, and which cancel?",
        """
SELECT carrier, COUNT(*) AS flights,
       ROUND(AVG(CAST(arr_delay AS DOUBLE)), 1) AS mean_minutes_late,
       ROUND(100.0 * COUNT(*) FILTER (WHERE arr_delay > 60) / COUNT(*), 1) AS percent_over_an_hour,
       ROUND(100.0 * COUNT(*) FILTER (WHERE dep_time IS NULL) / COUNT(*), 1) AS percent_cancelled
FROM flights WHERE __organization = '{organization}'
GROUP BY 1 HAVING COUNT(*) > 10000 ORDER BY 3 DESC
""",
    ),
    (
        "Which days were the worst of the year?",
        """
SELECT TIME_FORMAT(FLOOR(__time TO DAY), 'yyyy-MM-dd') AS "day", COUNT(*) AS flights,
       COUNT(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
       ROUND(AVG(CAST(dep_delay AS DOUBLE)), 1) AS mean_minutes_late
FROM flights WHERE __organization = '{organization}'
GROUP BY 1 ORDER BY 3 DESC LIMIT 5
""",
    ),
    (
        "Does bad sight delay departures? (flights joined with the weather of their hour)",
        """
SELECT CASE WHEN w.visib < 1 THEN 'under 1 mile' WHEN w.visib < 5 THEN '1 to 5 miles' ELSE '5 miles and more' END
         AS visibility,
       COUNT(*) AS flights, ROUND(AVG(CAST(f.dep_delay AS DOUBLE)), 1) AS mean_minutes_late,
       ROUND(100.0 * COUNT(*) FILTER (WHERE f.dep_time IS NULL) / COUNT(*), 1) AS percent_cancelled
FROM flights f JOIN weather w ON f.__time = w.__time AND f.origin = w.origin
WHERE f.__organization = '{organization}' AND w.__organization = '{organization}'
GROUP BY 1 ORDER BY 3 DESC
""",
    ),
)
