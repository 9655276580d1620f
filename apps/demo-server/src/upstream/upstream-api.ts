import { createServer, type Server } from 'node:http';
import express, { type Express } from 'express';
import { z } from 'zod';

/** How the upstream API behaves at present. `dead` means: connections are reset. */
const Behaviour = z.strictObject({
  mode: z.enum(['ok', 'slow', 'failing', 'dead']).default('ok'),
  /** What `slow` adds to each answer. Milliseconds. */
  delayMs: z.int().min(0).max(120_000).default(2_000),
});

/**
 * A small HTTP API for the demo to depend on: users, documents, a status, and a switch to make it slow, failing or dead
 * (`PUT /control {"mode": "failing"}`). Users match those of the database, from the same rule.
 */
export function createUpstreamApi(): Server {
  let behaviour = Behaviour.parse({});
  let requests = 0;
  const app: Express = express().disable('x-powered-by');

  app.get('/control', (_request, response) => void response.json({ ...behaviour, requests }));
  app.put('/control', express.json({ limit: '1kb' }), (request, response) => {
    const wanted = Behaviour.safeParse(request.body);
    if (!wanted.success) return void response.status(400).json({ error: z.prettifyError(wanted.error) });
    behaviour = wanted.data;
    response.json(behaviour);
  });

  app.use((request, response, next) => {
    requests++;
    if (behaviour.mode === 'dead') return void request.socket.resetAndDestroy();
    if (behaviour.mode === 'failing')
      return void response.status(500).json({ error: 'the upstream API was told to fail' });
    if (behaviour.mode === 'slow') return void setTimeout(next, behaviour.delayMs);
    next();
  });

  app.get('/users/:id', (request, response) => {
    const number = /^u([1-9]\d{0,3})$/.exec(request.params.id)?.[1];
    if (number === undefined || Number(number) > 5_000)
      return void response.status(404).json({ error: 'no such user' });
    response.json({
      id: request.params.id,
      timezone: ['Europe/Oslo', 'Asia/Tokyo', 'America/Lima', 'Africa/Accra'][Number(number) % 4],
      last_login_day: `2026-${String(1 + (Number(number) % 12)).padStart(2, '0')}-01`,
      documents: [`d${number}`, `d${Number(number) + 5_000}`],
    });
  });
  app.get('/documents/:id', (request, response) => {
    if (!/^d[1-9]\d{0,4}$/.test(request.params.id))
      return void response.status(404).json({ error: 'no such document' });
    response.json({
      id: request.params.id,
      title: `Document ${request.params.id.slice(1)}`,
      words: 100 + (Number(request.params.id.slice(1)) % 900),
    });
  });
  app.get('/status', (_request, response) => void response.json({ status: 'ok' }));
  app.get(
    '/exchange-rates',
    (_request, response) => void response.json({ base: 'EUR', rates: { NOK: 11.7, JPY: 171.3, PEN: 4.1, GHS: 12.9 } }),
  );
  app.use((_request, response) => void response.status(404).json({ error: 'no such endpoint' }));
  return createServer(app);
}
