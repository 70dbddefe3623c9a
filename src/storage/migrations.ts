/** One step of the schema. Once released, a step is never changed: further changes are further steps. */
export interface Migration {
  /** Recorded in the database when the step has been applied. */
  name: string
  /**
   * SQL that means the same on SQLite and PostgreSQL; several statements, separated by semicolons. The word text stands in it for the type
   * alone: PostgreSQL is told to order it by its bytes, as SQLite does.
   */
  up(nowMs: number): string
}

/** Every step, in the order in which they are applied. */
export const migrations: readonly Migration[] = [
  {
    name: '0001-organizations-keys-blobs',
    up: (nowMs) => `
      create table organizations (
        id text not null primary key,
        name text not null,
        created_at_ms bigint not null
      );
      insert into organizations (id, name, created_at_ms) values ('default', 'default', ${nowMs});

      create table api_keys (
        id text not null primary key,
        organization_id text not null references organizations (id),
        name text not null,
        hash text not null unique check (length(hash) = 64),
        hint text not null,
        scopes text not null,
        source text not null check (source in ('created', 'config')),
        created_at_ms bigint not null,
        expires_at_ms bigint,
        revoked_at_ms bigint
      );
      create index api_keys_by_organization on api_keys (organization_id);

      create table blobs (
        id text not null primary key,
        organization_id text not null,
        media_type text not null,
        size_bytes bigint not null check (size_bytes > 0),
        created_at_ms bigint not null,
        expires_at_ms bigint not null
      );
      create index blobs_by_organization on blobs (organization_id);
      create index blobs_by_expiry on blobs (expires_at_ms);
    `
  },
  {
    name: '0002-tasks',
    up: () => `
      alter table blobs add column access text not null default 'signed' check (access in ('signed', 'public'));
      alter table blobs add column task_id text;
      create index blobs_by_task on blobs (task_id);

      create table processes (
        id text not null primary key,
        lease_until_ms bigint not null
      );

      create table tasks (
        id text not null primary key,
        organization_id text not null,
        api_key_id text not null,
        operation text not null check (operation in ('generation', 'edit', 'variation')),
        state text not null check (state in ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'interrupted')),
        mode text not null check (mode in ('attached', 'detached')),
        revision bigint not null,
        trace_id text not null,
        fingerprint text not null,
        on_interrupt text not null check (on_interrupt in ('fail', 'retry')),
        request bytea not null,
        result bytea,
        provider text not null,
        model text not null,
        owner text,
        fence bigint not null,
        cancel_requested_at_ms bigint,
        lost_at_ms bigint,
        rejoined integer not null,
        created_at_ms bigint not null,
        started_at_ms bigint,
        finished_at_ms bigint,
        expires_at_ms bigint not null
      );
      create index tasks_by_organization on tasks (organization_id, created_at_ms, id);
      create index tasks_by_trace on tasks (organization_id, trace_id) where trace_id <> '';
      create index tasks_queued on tasks (created_at_ms, id) where state = 'queued';
      create index tasks_running on tasks (owner) where state = 'running';
      create index tasks_by_expiry on tasks (expires_at_ms);
      create index tasks_lost on tasks (api_key_id, fingerprint) where lost_at_ms is not null and rejoined = 0;

      create table request_keys (
        organization_id text not null,
        operation text not null,
        key_hash text not null,
        fingerprint text not null,
        task_id text not null,
        expires_at_ms bigint not null,
        primary key (organization_id, operation, key_hash)
      );
      create index request_keys_by_task on request_keys (task_id);
      create index request_keys_by_expiry on request_keys (expires_at_ms);

      create table attempts (
        id text not null primary key,
        task_id text not null,
        organization_id text not null,
        part integer not null,
        ordinal integer not null,
        provider text not null,
        model text not null,
        state text not null check (state in ('intended', 'submitted', 'succeeded', 'rejected', 'unknown')),
        job_id bytea,
        reserved_micros bigint,
        cost_micros bigint,
        result bytea,
        created_at_ms bigint not null,
        closed_at_ms bigint,
        unique (task_id, part, ordinal)
      );

      create table ledger_entries (
        id text not null primary key,
        organization_id text not null,
        api_key_id text not null,
        task_id text not null,
        attempt_id text not null,
        kind text not null check (kind in ('reserve', 'settle', 'release', 'correct')),
        provider text not null,
        model text not null,
        reserved_micros bigint not null,
        spent_micros bigint not null,
        priced integer not null,
        basis text not null check (basis in ('actual', 'unknown', 'none')),
        images integer not null,
        input_tokens bigint not null,
        output_tokens bigint not null,
        at_ms bigint not null
      );
      create index ledger_entries_by_attempt on ledger_entries (attempt_id);
      create index ledger_entries_by_organization on ledger_entries (organization_id, at_ms);

      create table callbacks (
        id text not null primary key,
        task_id text not null unique,
        organization_id text not null,
        url bytea not null,
        receiver text not null,
        state text not null check (state in ('pending', 'delivered', 'failed', 'stopped')),
        attempts integer not null,
        next_at_ms bigint not null,
        created_at_ms bigint not null
      );
      create index callbacks_due on callbacks (next_at_ms, receiver) where state = 'pending';

      create table callback_deliveries (
        id text not null primary key,
        callback_id text not null,
        at_ms bigint not null,
        status integer not null,
        problem text not null,
        duration_ms integer not null
      );
      create index callback_deliveries_by_callback on callback_deliveries (callback_id, at_ms);

      create table signing_secrets (
        id text not null primary key,
        organization_id text not null references organizations (id),
        secret bytea not null,
        created_at_ms bigint not null,
        expires_at_ms bigint
      );
      create index signing_secrets_by_organization on signing_secrets (organization_id);
      create unique index signing_secrets_newest on signing_secrets (organization_id) where expires_at_ms is null;
    `
  },
  {
    name: '0003-organizations-and-keys',
    up: () => `
      alter table organizations add column disabled_at_ms bigint;

      alter table api_keys add column allowed_models text not null default '';
      alter table api_keys add column allowed_providers text not null default '';
      alter table api_keys add column last_used_at_ms bigint;
      create index api_keys_by_creation on api_keys (created_at_ms, id);
      update api_keys set scopes = replace(scopes, 'generate', 'generate edit read_tasks');

      create table change_counters (
        name text not null primary key,
        changes bigint not null
      );
      insert into change_counters (name, changes) values ('settings', 0);
    `
  },
  {
    name: '0004-credentials',
    up: () => `
      alter table organizations add column platform_credentials text not null default 'when_missing'
        check (platform_credentials in ('never', 'when_missing', 'also_when_refused'));

      create table credentials (
        id text not null primary key,
        organization_id text not null references organizations (id),
        provider text not null,
        name text not null,
        weight integer not null check (weight >= 0),
        secret bytea not null,
        hint text not null,
        created_at_ms bigint not null,
        set_at_ms bigint not null,
        last_used_at_ms bigint,
        unique (organization_id, name)
      );

      alter table attempts add column credential text not null default 'platform';
      alter table ledger_entries add column credential text not null default 'platform';
    `
  },
  {
    name: '0005-budgets',
    up: () => `
      create table budgets (
        id text not null primary key,
        subject_kind text not null check (subject_kind in ('everything', 'organization', 'api_key')),
        subject_id text not null,
        period text not null check (period in ('day', 'month', 'total')),
        limit_micros bigint not null,
        unknown_price_micros bigint,
        source text not null check (source in ('created', 'config')),
        created_at_ms bigint not null,
        unique (subject_kind, subject_id, period)
      );
      create index budgets_by_creation on budgets (created_at_ms, id);

      create table budget_periods (
        id text not null primary key,
        budget_id text not null,
        starts_at_ms bigint not null,
        used_micros bigint not null
      );
      create index budget_periods_by_budget on budget_periods (budget_id);

      alter table attempts add column budget_periods text not null default '';
      alter table attempts add column budget_micros bigint not null default 0;
    `
  },
  {
    name: '0006-usage',
    up: () => `
      alter table ledger_entries add column operation text not null default '';
      alter table ledger_entries add column end_user text not null default '';
      alter table ledger_entries add column metadata json;
      alter table ledger_entries add column requests integer not null default 0;
      alter table ledger_entries add column unpriced integer not null default 0;
      alter table ledger_entries add column pixels bigint not null default 0;
      create index ledger_entries_by_time on ledger_entries (at_ms, id);
    `
  },
  {
    name: '0007-rate-limits',
    up: () => `
      create table rate_limits (
        id text not null primary key,
        organization_id text not null references organizations (id),
        api_key_id text not null,
        metric text not null check (metric in ('requests', 'images', 'megapixels', 'cost', 'in_flight')),
        amount bigint not null check (amount > 0),
        window_ms bigint not null check (window_ms >= 0),
        model text not null,
        created_at_ms bigint not null,
        unique (organization_id, api_key_id, metric, window_ms, model)
      );
      create index rate_limits_by_creation on rate_limits (created_at_ms, id);

      create table rate_limit_buckets (
        limit_id text not null primary key references rate_limits (id),
        revision bigint not null,
        filling_since_us bigint not null
      );

      create table rate_limit_slices (
        limit_id text not null references rate_limit_buckets (limit_id),
        process_id text not null,
        held bigint not null,
        until_ms bigint not null,
        primary key (limit_id, process_id)
      );
    `
  },
  {
    name: '0008-content-policies',
    up: () => `
      create table content_policies (
        id text not null primary key,
        organization_id text not null unique references organizations (id),
        blocked_patterns text not null,
        moderation_url text not null,
        moderation_model text not null,
        moderation_key bytea,
        moderation_key_hint text not null,
        moderation_timeout_ms integer not null,
        moderation_failure text not null check (moderation_failure in ('refuse', 'allow')),
        created_at_ms bigint not null,
        updated_at_ms bigint not null
      );
    `
  },
  {
    // Indexes that nothing looks into, and entries of tasks that run in the one that is about their end.
    name: '0009-fewer-indexes',
    up: () => `
      drop index blobs_by_organization;
      drop index ledger_entries_by_attempt;
      drop index tasks_by_expiry;
      create index tasks_by_expiry on tasks (expires_at_ms) where finished_at_ms is not null;
    `
  }
]

/** Those that a database lacks. Throws an Error where it has one that is unknown here. */
export function missingMigrations(applied: readonly string[], known: readonly Migration[]): Migration[] {
  const newer = applied.find((name) => !known.some((migration) => migration.name === name))
  if (newer !== undefined) {
    throw new Error(`the database was written by a newer version of this program: it has the migration ${newer}, which is unknown here`)
  }
  return known.filter(({ name }) => !applied.includes(name))
}
