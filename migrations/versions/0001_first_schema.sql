-- The row is the truth; a message in a queue is a pointer to it.
-- Content (job_inputs, job_results) stands apart from state (jobs), so that a change of state rewrites a narrow row.

CREATE TABLE tenants (
  id text CONSTRAINT tenants_pk PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
  prefix text CONSTRAINT api_keys_pk PRIMARY KEY,
  tenant_id text NOT NULL CONSTRAINT api_keys_tenant REFERENCES tenants (id),
  name text NOT NULL,
  digest bytea NOT NULL CONSTRAINT api_keys_sha256 CHECK (octet_length(digest) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);

-- Every catalog that was ever in force, so that a decision can be replayed; the newest version rules.
CREATE TABLE catalogs (
  version bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT catalogs_pk PRIMARY KEY,
  hash text NOT NULL,
  document jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE files (
  id uuid CONSTRAINT files_pk PRIMARY KEY,
  tenant_id text NOT NULL CONSTRAINT files_tenant REFERENCES tenants (id),
  purpose text NOT NULL CONSTRAINT files_purpose CHECK (purpose IN ('batch', 'batch_output')),
  filename text NOT NULL,
  bytes bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz
);
CREATE INDEX files_listed ON files (tenant_id, id);
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE file_chunks (
  file_id uuid NOT NULL CONSTRAINT file_chunks_file REFERENCES files (id) ON DELETE CASCADE,
  seq integer NOT NULL,
  data bytea NOT NULL,
  CONSTRAINT file_chunks_pk PRIMARY KEY (file_id, seq)
);
ALTER TABLE file_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- A batch's status is a view over these stamps and over its jobs; it is never stored.
CREATE TABLE batches (
  id uuid CONSTRAINT batches_pk PRIMARY KEY,
  tenant_id text NOT NULL CONSTRAINT batches_tenant REFERENCES tenants (id),
  endpoint text NOT NULL,
  input_file_id uuid NOT NULL,
  completion_window text NOT NULL,
  metadata jsonb,
  total integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  in_progress_at timestamptz,
  failed_at timestamptz,
  cancelling_at timestamptz,
  finalizing_at timestamptz,
  ended_at timestamptz,
  errors jsonb,
  succeeded integer,
  failed integer,
  cancelled integer,
  expired integer,
  tokens_in bigint,
  tokens_out bigint,
  output_file_id uuid,
  error_file_id uuid,
  CONSTRAINT batches_counted CHECK ((ended_at IS NULL) = (succeeded IS NULL)),
  CONSTRAINT batches_whole CHECK (ended_at IS NULL OR succeeded + failed + cancelled + expired = total)
);
CREATE INDEX batches_listed ON batches (tenant_id, id);
CREATE INDEX batches_open ON batches (id) WHERE ended_at IS NULL AND failed_at IS NULL;

CREATE TABLE jobs (
  id uuid CONSTRAINT jobs_pk PRIMARY KEY,
  tenant_id text NOT NULL,
  batch_id uuid,
  line integer,
  custom_id text,
  endpoint text NOT NULL,
  model text NOT NULL,
  lane bigint NOT NULL,
  state text NOT NULL DEFAULT 'queued',
  epoch integer NOT NULL DEFAULT 0,
  attempt integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  lost_leases integer NOT NULL DEFAULT 0,
  priority smallint NOT NULL DEFAULT 0,
  tokens_in integer NOT NULL,
  tokens_out integer,
  features text[] NOT NULL DEFAULT '{}',
  residency text,
  quality real,
  deadline timestamptz,
  model_id text,
  excluded text[] NOT NULL DEFAULT '{}',
  worker text,
  lease_until timestamptz,
  available_at timestamptz,
  held_until timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  routed_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  error_code text,
  error_message text,
  metadata jsonb,
  CONSTRAINT jobs_state CHECK (state IN (
    'queued', 'routed', 'running', 'retry_wait', 'dead', 'succeeded', 'failed', 'cancelled', 'expired')),
  CONSTRAINT jobs_leased_while_running CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CONSTRAINT jobs_model_chosen CHECK (state NOT IN ('routed', 'running', 'dead', 'succeeded') OR model_id IS NOT NULL),
  CONSTRAINT jobs_due_while_waiting CHECK ((state = 'retry_wait') = (available_at IS NOT NULL)),
  CONSTRAINT jobs_finished_when_terminal CHECK (
    (state IN ('succeeded', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)),
  CONSTRAINT jobs_line_of_batch CHECK ((batch_id IS NULL) = (line IS NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- Taking work and sweeping read only what is live, however many rows are finished.
CREATE INDEX jobs_queued ON jobs (lane, priority DESC, deadline, id) WHERE state = 'queued';
CREATE INDEX jobs_routed ON jobs (routed_at) WHERE state = 'routed';
CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_retry_wait ON jobs (available_at) WHERE state = 'retry_wait';
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';
CREATE INDEX jobs_deadline ON jobs (deadline)
  WHERE deadline IS NOT NULL AND state IN ('queued', 'routed', 'retry_wait', 'dead');
CREATE INDEX jobs_batch_live ON jobs (batch_id)
  WHERE batch_id IS NOT NULL AND state IN ('queued', 'routed', 'running', 'retry_wait', 'dead');
CREATE UNIQUE INDEX jobs_batch_line ON jobs (batch_id, line) WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_listed ON jobs (tenant_id, id);

CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'job % may not go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
END $$;

-- router_service.jobs.states.TRANSITIONS, restated; a test compares the two.
CREATE TRIGGER jobs_transition BEFORE UPDATE OF state ON jobs FOR EACH ROW
WHEN (OLD.state <> NEW.state AND OLD.state || '>' || NEW.state <> ALL (ARRAY[
  'queued>routed', 'routed>running', 'routed>queued', 'running>succeeded', 'running>failed', 'running>retry_wait',
  'running>dead', 'running>queued', 'running>cancelled', 'retry_wait>queued', 'dead>queued', 'dead>failed',
  'failed>queued', 'queued>cancelled', 'routed>cancelled', 'retry_wait>cancelled', 'dead>cancelled',
  'queued>expired', 'routed>expired', 'retry_wait>expired', 'dead>expired']))
EXECUTE FUNCTION refuse_transition();

CREATE TABLE job_inputs (
  job_id uuid CONSTRAINT job_inputs_pk PRIMARY KEY,
  body text NOT NULL
);

-- The primary key is the promise: at most one result per job.
CREATE TABLE job_results (
  job_id uuid CONSTRAINT job_results_pk PRIMARY KEY,
  attempt integer NOT NULL,
  model_id text NOT NULL,
  status_code smallint NOT NULL,
  body text NOT NULL,
  tokens_in integer NOT NULL,
  tokens_out integer NOT NULL,
  cost_usd numeric(20, 12),
  stored_at timestamptz NOT NULL DEFAULT now()
);

-- One row per call to a provider, committed before the call and closed once after it.
CREATE TABLE attempts (
  job_id uuid NOT NULL,
  attempt integer NOT NULL,
  epoch integer NOT NULL,
  model_id text NOT NULL,
  worker text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  outcome text,
  status_code smallint,
  error_code text,
  error_message text,
  tokens_in integer,
  tokens_out integer,
  cost_usd numeric(20, 12),
  CONSTRAINT attempts_pk PRIMARY KEY (job_id, attempt),
  CONSTRAINT attempts_closed CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
-- Rows come in the order of time: a block range index finds the last minute for next to nothing.
CREATE INDEX attempts_started ON attempts USING brin (started_at) WITH (pages_per_range = 16, autosummarize = on);

-- Why a job went where it went: every candidate with its reason or its scores.
CREATE TABLE decisions (
  job_id uuid NOT NULL,
  epoch integer NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT now(),
  model_id text,
  reason text NOT NULL,
  policy text NOT NULL,
  catalog text NOT NULL,
  candidates jsonb NOT NULL,
  CONSTRAINT decisions_pk PRIMARY KEY (job_id, epoch)
);

-- The evidence of a model that gave up on a job; never its content.
CREATE TABLE dead_letters (
  id uuid CONSTRAINT dead_letters_pk PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id text NOT NULL,
  job_id uuid NOT NULL,
  batch_id uuid,
  model_id text NOT NULL,
  attempt integer NOT NULL,
  status_code smallint,
  error_code text NOT NULL,
  error_message text NOT NULL,
  state text NOT NULL DEFAULT 'open',
  created_at timestamptz NOT NULL DEFAULT now(),
  sent_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  CONSTRAINT dead_letters_once UNIQUE (job_id, attempt),
  CONSTRAINT dead_letters_state CHECK (state IN ('open', 'rerouted', 'parked', 'replayed', 'discarded')),
  CONSTRAINT dead_letters_settled CHECK ((state = 'open') = (settled_at IS NULL))
);
CREATE INDEX dead_letters_listed ON dead_letters (tenant_id, created_at, id);
CREATE INDEX dead_letters_parked ON dead_letters (tenant_id, created_at, id) WHERE state = 'parked';
