import type { PostgresPool } from '@x/pools/postgres';

/** How much there is in the demo's data set. The sixth level of the organisation holds the teams. */
const USERS = 5_000;
const UNITS_PER_LEVEL = [1, 5, 25, 100, 250, 500];
const ASSIGNMENTS = 10_000;

/**
 * Makes schema `mcp_demo` and fills it, unless that was done before. The data is computed from row numbers, so it is the
 * same on every machine. Several servers may start on one database at once: an advisory lock lets one do the work.
 */
export async function prepareDatabase(pool: PostgresPool): Promise<void> {
  await pool.transaction(async (db) => {
    await db.query(`SELECT pg_advisory_xact_lock(hashtext('mcp_demo'))`);
    // Asked first, so that a user who may only read and write can run the server on a database that is prepared.
    const prepared = await db.fetchOne<{ users: string | null }>(`SELECT to_regclass('mcp_demo.users') AS users`);
    if (prepared?.users !== null) return;
    for (const statement of TABLES) await db.query(statement);
    await db.query(INSERT_UNITS, [UNITS_PER_LEVEL]);
    await db.query(INSERT_USERS, [USERS]);
    await db.query(SET_HEADS);
    await db.query(INSERT_ASSIGNMENTS, [ASSIGNMENTS, USERS]);
    for (const table of ['org_units', 'users', 'assignments']) await db.query(`ANALYZE mcp_demo.${table}`);
  });
}

const TABLES = [
  'CREATE SCHEMA IF NOT EXISTS mcp_demo',
  `CREATE TABLE mcp_demo.org_units (
     id text PRIMARY KEY, name text NOT NULL, level int NOT NULL, parent_id text REFERENCES mcp_demo.org_units, head_id text)`,
  'CREATE INDEX org_units_parent ON mcp_demo.org_units (parent_id)',
  `CREATE TABLE mcp_demo.users (
     id text PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, title text NOT NULL,
     org_unit_id text NOT NULL REFERENCES mcp_demo.org_units, manager_id text REFERENCES mcp_demo.users)`,
  'CREATE INDEX users_org_unit ON mcp_demo.users (org_unit_id)',
  `CREATE TABLE mcp_demo.assignments (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL,
     assignee_id text NOT NULL REFERENCES mcp_demo.users, priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 5),
     due_date date, created_at timestamptz NOT NULL DEFAULT now())`,
  'CREATE INDEX assignments_assignee ON mcp_demo.assignments (assignee_id)',
];

/** Unit n of a level hangs below unit (n modulo the size of the level above): every parent gets its share. */
const INSERT_UNITS = `
  WITH levels AS (
    SELECT level::int, size, coalesce(sum(size) OVER (ORDER BY level ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::int AS before
    FROM unnest($1::int[]) WITH ORDINALITY AS given(size, level))
  INSERT INTO mcp_demo.org_units (id, name, level, parent_id)
  SELECT 'o' || before + n,
         (ARRAY['Company', 'Division', 'Department', 'Area', 'Group', 'Team'])[level] || CASE level WHEN 1 THEN '' ELSE ' ' || n END,
         level,
         CASE level WHEN 1 THEN NULL ELSE 'o' || (SELECT above.before + 1 + (n - 1) % above.size FROM levels above WHERE above.level = levels.level - 1) END
  FROM levels, generate_series(1, size) AS n
  ORDER BY level, n`;

/** Users are spread over all units in turn; user n reports to user n / 8, so that managers exist before their people. */
const INSERT_USERS = `
  WITH units AS (SELECT count(*)::int AS total FROM mcp_demo.org_units)
  INSERT INTO mcp_demo.users (id, name, email, title, org_unit_id, manager_id)
  SELECT 'u' || n,
         (ARRAY['Ada','Boris','Chidi','Dana','Emeka','Farah','Goran','Hana','Ivan','Jun','Kofi','Lena','Mateo','Nadia','Omar','Priya'])[1 + (n * 7) % 16] || ' ' ||
         (ARRAY['Abbott','Berg','Costa','Diaz','Eriksen','Fischer','Garcia','Haddad','Ito','Jansen','Kowalski','Larsen','Moreau','Novak','Okafor','Patel','Quinn','Rossi','Sato'])[1 + (n * 11) % 19],
         'u' || n || '@example.com',
         (ARRAY['Engineer','Analyst','Designer','Accountant','Planner','Counsel'])[1 + n % 6],
         'o' || 1 + (n - 1) % units.total,
         CASE WHEN n < 2 THEN NULL ELSE 'u' || greatest(1, n / 8) END
  FROM units, generate_series(1, $1::int) AS n`;

const SET_HEADS = `
  UPDATE mcp_demo.org_units SET head_id = first.id
  FROM (SELECT DISTINCT ON (org_unit_id) org_unit_id, id FROM mcp_demo.users ORDER BY org_unit_id, substr(id, 2)::int) AS first
  WHERE first.org_unit_id = org_units.id`;

const INSERT_ASSIGNMENTS = `
  INSERT INTO mcp_demo.assignments (title, assignee_id, priority, due_date)
  SELECT (ARRAY['Review','Prepare','Approve','Translate','Measure'])[1 + n % 5] || ' item ' || n,
         'u' || 1 + (n * 37) % $2::int, 1 + n % 5, date '2026-01-01' + n % 365
  FROM generate_series(1, $1::int) AS n`;
