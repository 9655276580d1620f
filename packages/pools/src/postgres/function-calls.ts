/**
 * Whether a text, given as `bareSql` makes it, runs code that is not PostgreSQL's own, of which nobody knows what it leaves in
 * the session: a function that is not among the well-known ones below, a procedure, a block, a prepared statement.
 */
export function callsUnknownCode(bareText: string): boolean {
  if (otherCode.test(bareText)) return true;
  for (const [, before, name = ''] of bareText.matchAll(calls)) {
    if (before === undefined && !harmless.has(plainName(name))) return true;
  }
  return false;
}

const otherCode = /\b(?:call|execute)\b|\bdo\b(?!\s+(?:nothing|update|also|instead)\b)/i;

const identifier = '(?:"(?:[^"]|"")*"|[\\w$\\u0080-\\uffff]+)';
/**
 * Names before a parenthesis, and the word before a name that is not called but given columns, as in `insert into users (id)` and `create table if not exists users (id int)`.
 * Each part ends in one way only, and none begins in the middle of a name, so that the search takes time in proportion to the text, whatever that is.
 */
const calls = new RegExp(
  `(?<![\\w$".\\u0080-\\uffff])(?=["\\w$\\u0080-\\uffff])(?<!\\.\\s*)(?:\\b(into|as|recursive|ordinality|table|exists)[ \\t]+)?(${identifier}(?:\\s*\\.\\s*${identifier})*)\\s*\\(`,
  'gi',
);

function plainName(name: string): string {
  return name
    .replace(/"([^"]*)"|[^"]+/g, (part, quoted?: string) => quoted ?? part.toLowerCase())
    .replace(/^pg_catalog\s*\.\s*/, '');
}

const words = (list: string): string[] => list.trim().split(/\s+/);

const harmless = new Set([
  // Keywords.
  ...words(`all analyze and any array as asc between by cast check columns conflict copy cube default desc distinct else end except
    exists explain filter from group having in insert intersect into is join key lateral left like ilike limit materialized not
    nothing null offset on only operator or order over partition range returning right row rows select set sets similar some
    table then to union unique using values when where window with within`),
  // Types with a length.
  ...words(
    `bit bpchar char character decimal float interval numeric time timestamp timestamptz timetz varbit varchar varying`,
  ),
  // Conditions, comparisons and the order of rows.
  ...words(`coalesce greatest grouping least nullif num_nonnulls num_nulls row_number rank dense_rank percent_rank cume_dist
    ntile lag lead first_value last_value nth_value`),
  // Aggregates.
  ...words(`any_value array_agg avg bit_and bit_or bool_and bool_or corr count every json_agg json_object_agg jsonb_agg
    jsonb_object_agg max min mode percentile_cont percentile_disc range_agg stddev stddev_pop stddev_samp string_agg sum
    var_pop var_samp variance`),
  // Numbers.
  ...words(`abs cbrt ceil ceiling degrees div exp floor gcd lcm ln log log10 mod pi power radians random round scale sign sqrt
    trim_scale trunc width_bucket acos asin atan atan2 cos cot sin tan generate_series`),
  // Texts and bytes.
  ...words(`ascii bit_length btrim char_length character_length chr concat concat_ws convert_from convert_to decode encode
    format get_byte initcap left length lower lpad ltrim md5 normalize octet_length overlay position quote_ident quote_literal
    quote_nullable regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim set_byte sha224 sha256 sha384 sha512 split_part
    starts_with string_to_array string_to_table strpos substr substring to_hex translate trim upper gen_random_uuid uuidv4 uuidv7`),
  // Dates and times.
  ...words(`age clock_timestamp date date_bin date_part date_trunc extract isfinite justify_days justify_hours justify_interval
    localtime localtimestamp make_date make_interval make_time make_timestamp make_timestamptz now current_time
    current_timestamp statement_timestamp timeofday timezone to_char to_date to_number to_timestamp transaction_timestamp`),
  // Arrays and ranges.
  ...words(`array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_to_json array_to_string array_upper cardinality unnest
    daterange int4range int8range numrange tsrange tstzrange isempty lower_inc lower_inf range_merge upper_inc upper_inf`),
  // JSON.
  ...words(`json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
    json_each_text json_exists json_extract_path json_extract_path_text json_object json_object_keys json_populate_record
    json_populate_recordset json_query json_strip_nulls json_table json_to_record json_to_recordset json_typeof json_value
    jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists
    jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
    jsonb_typeof row_to_json to_json to_jsonb`),
  // Search in texts.
  ...words(`numnode phraseto_tsquery plainto_tsquery setweight strip to_tsquery to_tsvector ts_headline ts_rank ts_rank_cd
    tsvector_to_array websearch_to_tsquery`),
  // What is asked of the server, and locks that end with their transaction.
  ...words(`col_description current_database current_schema current_schemas current_setting current_user currval format_type
    has_schema_privilege has_table_privilege lastval nextval obj_description pg_advisory_unlock pg_advisory_unlock_all
    pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_backend_pid pg_blocking_pids pg_cancel_backend
    pg_column_size pg_database_size pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_indexdef pg_get_serial_sequence
    pg_get_userbyid pg_get_viewdef pg_indexes_size pg_is_in_recovery pg_notify pg_relation_size pg_size_pretty pg_sleep
    pg_stat_get_activity pg_table_is_visible pg_table_size pg_terminate_backend pg_total_relation_size pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared pg_typeof session_user to_regclass to_regtype txid_current version`),
  // pg_trgm, pgcrypto, unaccent, uuid-ossp, pgvector and PostGIS.
  ...words(`similarity strict_word_similarity word_similarity crypt digest gen_salt hmac unaccent uuid_generate_v4
    cosine_distance inner_product l1_distance l2_distance l2_normalize vector halfvec vector_dims
    geography geometry st_area st_asgeojson st_astext st_buffer st_centroid st_contains st_covers st_distance st_dwithin
    st_geomfromgeojson st_geomfromtext st_intersection st_intersects st_length st_makeenvelope st_makepoint st_point st_setsrid
    st_transform st_union st_within st_x st_y`),
]);
