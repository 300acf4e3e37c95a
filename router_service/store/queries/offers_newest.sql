-- When the latest decision was taken that kept its inputs.
SELECT decided_at FROM decisions WHERE inputs IS NOT NULL ORDER BY decided_at DESC LIMIT 1
