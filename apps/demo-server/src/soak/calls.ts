export const TOOLS = [
  'get_user',
  'get_user_details',
  'get_org_structure',
  'batch_create_assignments',
  'fetch_user_data',
  'fetch_with_limit',
  'call_external_api',
  'process_large_dataset',
] as const;
export type ToolName = (typeof TOOLS)[number];

/** One call in 38 each, times the number: what a caller of such a server might do. */
const WEIGHTS: Record<ToolName, number> = {
  get_user: 9,
  get_user_details: 9,
  get_org_structure: 6,
  batch_create_assignments: 3,
  fetch_user_data: 3,
  fetch_with_limit: 3,
  call_external_api: 4,
  process_large_dataset: 1,
};
const DECK = TOOLS.flatMap((tool) => Array.from({ length: WEIGHTS[tool] }, () => tool));

/** The tool of the n-th call: each in its share, none in a row. */
export function toolOf(n: number): ToolName {
  // 17 and the size of the deck have no divisor in common, so every card comes up.
  return DECK[(n * 17) % DECK.length] ?? 'get_user';
}

/** Right arguments for the n-th call. `title` makes the names of assignments. */
export function argumentsOf(
  tool: ToolName,
  n: number,
  upstreamUrl: string,
  title: (item: number) => string,
): Record<string, unknown> {
  const user = (offset: number) => `u${1 + ((n * 7 + offset) % 5_000)}`;
  switch (tool) {
    case 'get_user':
    case 'get_user_details':
      return { user_id: user(0) };
    case 'get_org_structure':
      return { root_id: `o${1 + (n % 31)}`, depth: 1 + (n % 4) };
    case 'batch_create_assignments':
      return { assignments: [0, 1, 2].map((item) => ({ title: title(item), assignee_id: user(item) })) };
    case 'fetch_user_data':
      return { user_ids: [0, 1, 2, 3, 4].map(user) };
    case 'fetch_with_limit':
      return { urls: [0, 1, 2].map((item) => `${upstreamUrl}/documents/d${1 + ((n + item) % 9_999)}`) };
    case 'call_external_api':
      return { endpoint: ['status', 'exchange-rates', `users/${user(0)}`][n % 3] };
    case 'process_large_dataset':
      return { numbers: Array.from({ length: 2_000 }, (_, item) => Math.sin(n + item) * 1_000) };
  }
}
