// Requests as Prometheus sees them. Routes, never paths, are labels: a path has ids in it and would grow without end.
import { Counter, Histogram, Registry } from 'prom-client';

export interface ApiMetrics {
  readonly registry: Registry;
  observe(method: string, route: string, status: number, seconds: number): void;
}

/** Registers the API's metrics in `registry` (a new one by default). */
export function apiMetrics(registry: Registry = new Registry()): ApiMetrics {
  const requests = new Counter({
    name: 'crosscell_api_requests_total',
    help: 'Requests answered, by method, route and status',
    labelNames: ['method', 'route', 'status'] as const,
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'crosscell_api_request_seconds',
    help: 'Seconds from the arrival of a request to the end of its answer, by method and route',
    labelNames: ['method', 'route'] as const,
    buckets: [0.002, 0.01, 0.05, 0.2, 1, 5, 30],
    registers: [registry],
  });
  return {
    registry,
    observe(method, route, status, seconds) {
      requests.inc({ method, route, status: String(status) });
      duration.observe({ method, route }, seconds);
    },
  };
}
