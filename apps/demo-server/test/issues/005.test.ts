import { expect, test } from 'vitest';
import { startDemo } from '../demo.ts';

// What breakers share asks Redis first, so that connecting had begun: the start took that for a failure, and said that Redis could not be reached.

const WARN = 40;

test('a start at which all is well warns of nothing', async () => {
  await using server = await startDemo();
  expect(server.log.filter(({ level }) => Number(level) >= WARN)).toEqual([]);
}, 60_000);
