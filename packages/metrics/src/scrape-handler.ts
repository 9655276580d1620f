import type { IncomingMessage, ServerResponse } from 'node:http';

/** Of a prom-client Registry. */
export interface Scraped {
  readonly contentType: string;
  metrics(): Promise<string>;
}

/** Answers GET and HEAD with the metrics. What went wrong is told to `onError`, never to the client. */
export function scrapeHandler(
  registry: Scraped,
  onError: (error: unknown) => void,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD', 'Content-Type': 'text/plain; charset=utf-8' });
      response.end('Method not allowed\n');
      return;
    }
    scrape(registry).then(
      ({ body, contentType }) => {
        // Whoever lost patience meanwhile (a time-out in front of us) has answered.
        if (response.headersSent) return;
        response.writeHead(200, {
          'Content-Type': contentType,
          'Content-Length': Buffer.byteLength(body),
          'Cache-Control': 'no-store',
        });
        response.end(request.method === 'HEAD' ? undefined : body);
      },
      (error: unknown) => {
        onError(error);
        if (response.headersSent) return;
        response.writeHead(500, { 'Content-Type': 'text/plain; charset=utf-8' });
        response.end('Metrics could not be collected\n');
      },
    );
  };
}

async function scrape(registry: Scraped): Promise<{ body: string; contentType: string }> {
  return { body: await registry.metrics(), contentType: registry.contentType };
}
