import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis';
import { Cluster as Cluster6, Redis as Redis6 } from 'ioredis-6';

/** The releases of ioredis that the Redis tier must work with. */
export const RELEASES = [
  { release: 'ioredis 5', Redis: Redis5, Cluster: Cluster5 },
  { release: 'ioredis 6', Redis: Redis6 as unknown as typeof Redis5, Cluster: Cluster6 as unknown as typeof Cluster5 },
] as const;
