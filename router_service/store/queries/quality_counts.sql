-- How right models' answers were, and had been expected to be, by learner, of those named, model and domain; faded as far as
-- they are old by now, with
-- a half-life of 30 days. What is next to nothing is left out.
SELECT tenant_id, model_id, domain, score * kept AS score, trials * kept AS trials, expected * kept AS expected, levels * kept AS levels
FROM quality_counts, LATERAL (SELECT 0.5 ^ CAST(least(100, extract(epoch FROM now() - changed_at) / 2592000) AS float8) AS kept) faded
WHERE tenant_id = ANY (:learners) AND trials * kept >= 0.05
ORDER BY tenant_id, model_id, domain
