-- How right models' answers were, by learner, model and domain.
SELECT tenant_id, model_id, domain, score, trials FROM quality_counts ORDER BY tenant_id, model_id, domain
