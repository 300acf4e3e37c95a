-- Routing looks at more than sizes. The old code runs beside this: it stores no wishes, and decisions without their inputs.
-- It knows no wishes either: an old router would send a job where its request says that it must not go. So routers and
-- dead-letter workers are replaced first, then janitors and providers, the API last: only a new one takes wishes.
--
-- `jobs` is locked until all of this is done. It comes first as work takes its locks in this order too, jobs before decisions: the
-- other way round one would wait for the other. What takes time is one look through decisions for an index of which no row is in
-- yet: 0.2 s for a million of them (1 GB). Where there are a hundred times as many, do it in a quiet hour.

-- What a request says of where it may go and how to choose (router_service.jobs.preferences); NULL where it says nothing.
ALTER TABLE jobs ADD COLUMN preferences jsonb;

-- What was read out of a job's request, once, whatever becomes of the job: never content (router_service.signals).
CREATE TABLE job_signals (
  job_id uuid CONSTRAINT job_signals_pk PRIMARY KEY,
  signals json NOT NULL,
  read_at timestamptz NOT NULL DEFAULT now()
);

-- The live counters that a routing pass saw, by a hash of what they say. `taken_at`, as `made_at` of plans: when it was in use
-- the last time, or up to a day before. Decisions name these rows: who deletes by age keeps them a day longer than decisions.
CREATE TABLE snapshots (
  hash text CONSTRAINT snapshots_pk PRIMARY KEY,
  counters json NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT now()
);

-- With its snapshot, its catalog (which has its policy) and its inputs a decision can be taken again. The tenant is its job's.
ALTER TABLE decisions
  ADD COLUMN tenant_id text,
  ADD COLUMN snapshot text,
  ADD COLUMN inputs json,
  ADD COLUMN shadow json;
CREATE INDEX decisions_recent ON decisions (decided_at) WHERE inputs IS NOT NULL;
CREATE INDEX decisions_listed ON decisions (tenant_id, decided_at, job_id, epoch) WHERE inputs IS NOT NULL;

-- Plans for whole batches (router_service.assignment), each once under a hash of what it says.
CREATE TABLE plans (
  hash text CONSTRAINT plans_pk PRIMARY KEY,
  document json NOT NULL,
  made_at timestamptz NOT NULL DEFAULT now()
);

-- A batch that is planned waits for its first plan until `plan_until`; what is left of it is planned again when `plan_due_at`
-- comes, or another catalog than `plan_catalog`. `quoted`: what its first plan promised; `plan_note`: what of its goal cannot
-- be kept, and what could.
ALTER TABLE batches
  ADD COLUMN plan text,
  ADD COLUMN planned_at timestamptz,
  ADD COLUMN quoted json,
  ADD COLUMN plan_note text,
  ADD COLUMN plan_until timestamptz,
  ADD COLUMN plan_due_at timestamptz,
  ADD COLUMN plan_catalog text,
  ADD COLUMN budget_usd float8 CONSTRAINT batches_budget CHECK (budget_usd >= 0),
  ADD COLUMN finish_by timestamptz;
CREATE INDEX batches_plan_due ON batches (plan_due_at)
  WHERE plan_due_at IS NOT NULL AND ended_at IS NULL AND failed_at IS NULL;

-- What somebody asked to be told before it runs. The lines, a sample of a file, are kept until the answer is there,
-- a quarter of an hour at most: beside job_inputs and file_chunks this is where prompts are.
CREATE TABLE quotes (
  id uuid CONSTRAINT quotes_pk PRIMARY KEY,
  tenant_id text NOT NULL,
  asked json NOT NULL,
  lines json,
  answer json,
  created_at timestamptz NOT NULL DEFAULT now(),
  taken_at timestamptz,
  CONSTRAINT quotes_forget CHECK (answer IS NULL OR lines IS NULL)
);
CREATE INDEX quotes_open ON quotes (tenant_id, created_at) WHERE answer IS NULL;
CREATE INDEX quotes_served ON quotes (tenant_id, taken_at);

-- What a right answer is worth under a policy, so that the mean quality meets a target (router_service.routing.calibration), on what
-- a predictor expects ('': none). `catalog`: under which it was measured, '' under several.
CREATE TABLE calibrations (
  policy text NOT NULL,
  predictor text NOT NULL,
  catalog text NOT NULL,
  jobs integer NOT NULL,
  curve json NOT NULL,
  made_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT calibrations_pk PRIMARY KEY (policy, predictor)
);

-- What users, checks and judges said of answers; one verdict of each source for a job.
CREATE TABLE feedback (
  job_id uuid NOT NULL,
  source text NOT NULL,
  tenant_id text NOT NULL,
  model_id text NOT NULL,
  domain text NOT NULL,
  score real NOT NULL CONSTRAINT feedback_score CHECK (score BETWEEN 0 AND 1),
  expected real NOT NULL,
  learners text[] NOT NULL,
  given_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT feedback_pk PRIMARY KEY (job_id, source)
);

-- Their sums, and of what had been expected of the same answers, and of their models on jobs of the kind (levels): from these
-- routing learns. Of each tenant, and under '' of all who share.
CREATE TABLE quality_counts (
  tenant_id text NOT NULL,
  model_id text NOT NULL,
  domain text NOT NULL,
  score float8 NOT NULL,
  trials float8 NOT NULL,
  expected float8 NOT NULL,
  levels float8 NOT NULL DEFAULT 0,
  changed_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT quality_counts_pk PRIMARY KEY (tenant_id, model_id, domain)
);
