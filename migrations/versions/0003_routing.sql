-- Routing looks at more than sizes. The old code runs beside this: it stores no wishes, and decisions without their inputs.

-- What a request says of where it may go and how to choose (router_service.jobs.preferences); NULL where it says nothing.
ALTER TABLE jobs ADD COLUMN preferences jsonb;

-- What was read out of a job's request, once, whatever becomes of the job: never content (router_service.signals).
CREATE TABLE job_signals (
  job_id uuid CONSTRAINT job_signals_pk PRIMARY KEY,
  signals json NOT NULL,
  read_at timestamptz NOT NULL DEFAULT now()
);

-- The live counters that a routing pass saw, by a hash of what they say.
CREATE TABLE snapshots (
  hash text CONSTRAINT snapshots_pk PRIMARY KEY,
  counters json NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT now()
);

-- With its snapshot, its catalog (which has its policy) and its inputs a decision can be taken again.
ALTER TABLE decisions
  ADD COLUMN snapshot text,
  ADD COLUMN inputs json,
  ADD COLUMN shadow json;
CREATE INDEX decisions_recent ON decisions (decided_at) WHERE inputs IS NOT NULL;

-- What a right answer is worth under a policy, so that the mean quality meets a target (router_service.routing.calibration).
CREATE TABLE calibrations (
  policy text CONSTRAINT calibrations_pk PRIMARY KEY,
  catalog text NOT NULL,
  jobs integer NOT NULL,
  curve json NOT NULL,
  made_at timestamptz NOT NULL DEFAULT now()
);

-- What users, checks and judges said of answers; one verdict of each source for a job.
CREATE TABLE feedback (
  job_id uuid NOT NULL,
  source text NOT NULL,
  tenant_id text NOT NULL,
  model_id text NOT NULL,
  domain text NOT NULL,
  score real NOT NULL CONSTRAINT feedback_score CHECK (score BETWEEN 0 AND 1),
  given_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT feedback_pk PRIMARY KEY (job_id, source)
);

-- Their sums, from which routing learns: of each tenant, and under '' of all who share.
CREATE TABLE quality_counts (
  tenant_id text NOT NULL,
  model_id text NOT NULL,
  domain text NOT NULL,
  score float8 NOT NULL,
  trials float8 NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT quality_counts_pk PRIMARY KEY (tenant_id, model_id, domain)
);
