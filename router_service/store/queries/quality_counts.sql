-- How right models' answers were, and had been expected to be, by learner, model and domain.
SELECT tenant_id, model_id, domain, score, trials, expected FROM quality_counts ORDER BY tenant_id, model_id, domain
