/** One step of the schema. Once released, a step is never changed: further changes are further steps. */
export interface Migration {
  /** Recorded in the database when the step has been applied. */
  name: string
  /** SQL that means the same on SQLite and PostgreSQL; several statements, separated by semicolons. */
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
        organization_id text not null references organizations (id),
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
      insert into change_counters (name, changes) values ('api_keys', 0);
    `
  }
]
